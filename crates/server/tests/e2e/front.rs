//! A real nginx-rtmp in front: its hooks ask us who may publish, and it pushes the stream to us.

use std::time::Duration;

use gostream_proto::rtmp::media::MediaKind;
use gostream_testkit::{
    clip::{Clip, bodies},
    nginx::Nginx,
    platform::{Behaviour, Platform},
    process::{Process, text},
};

use crate::show::Show;

/// nginx configured as in the README, in front of this server.
async fn in_front_of(show: &Show) -> Nginx {
    let (api, rtmp) = (show.client.address, show.rtmp);
    let directives = format!(
        "notify_method post; on_publish http://{api}/api/streams/on_publish;
        on_publish_done http://{api}/api/streams/on_publish_done;
        push rtmp://{rtmp}/live;"
    );
    Nginx::start(&directives).await.expect("starts")
}

/// FFmpeg, publishing a clip to nginx in real time under this name.
pub fn publish(nginx: &Nginx, name: &str, clip: &Clip) -> Process {
    let url = format!("{}/{name}", nginx.url());
    let arguments = ["-hide_banner", "-loglevel", "warning", "-re", "-i", text(&clip.path), "-c", "copy", "-f", "flv"];
    Process::start("ffmpeg", &[arguments.as_slice(), &[&url]].concat()).expect("starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_pushed_by_nginx_is_treated_like_an_encoder() {
    let clip = Clip::usual(15).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    // nginx closes in the same way whether its encoder stopped or was lost, so the end comes after the grace time.
    let show = Show::start(&[("GOSTREAM_INGEST_RECONNECT_GRACE", "3s")]).await;
    show.destination(&platform.url(), "key").await;
    let nginx = in_front_of(&show).await;
    let encoder = publish(&nginx, &show.key, &clip);
    show.until("live", |project| project["status"] == "live" && project["stream"]["previewReady"] == true)
        .await;
    platform.until_video(100).await;

    let (ended, said) = encoder.wait(Duration::from_secs(60)).await.expect("ends");
    assert!(ended.success(), "{said}");
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_eq!(visits.len(), 1);
    // nginx starts to push at a keyframe, and drops unsent data when its encoder disconnects.
    let (got, sent) = (bodies(&visits[0].media, MediaKind::Video), clip.bodies(MediaKind::Video));
    let mut rest = sent.iter();
    let strays = got.iter().filter(|body| !rest.any(|sent| sent == *body)).count();
    assert!(got.len() > 300 && strays == 0, "{} pictures, {strays} changed or out of order", got.len());
    show.until("offline", |project| project["status"] == "offline").await;
    let history = show.client.get(&format!("/api/projects/{}/streams", show.project)).await.json(200);
    let streams = history["items"].as_array().expect("is a list");
    assert_eq!((streams.len(), &streams[0]["endReason"]), (1, &"encoder_lost".into()), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_refuses_publishers_without_a_valid_key() {
    let clip = Clip::usual(5).expect("FFmpeg makes it");
    let show = Show::start(&[]).await;
    let nginx = in_front_of(&show).await;
    // An unknown key, alone and with a valid key in the publisher's own arguments.
    for name in ["wrong".to_owned(), format!("wrong?name={}", show.key), format!("wrong?a=b&name={}&call=x", show.key)]
    {
        let (ended, _) = publish(&nginx, &name, &clip).wait(Duration::from_secs(30)).await.expect("ends");
        assert!(!ended.success(), "{name} was admitted");
    }
    assert_eq!(show.status().await["status"], "offline");
}
