//! A real nginx-rtmp in front: it asks our hooks who may publish, and pushes the stream on to us.

use std::time::Duration;

use gostream_proto::rtmp::media::MediaKind;
use gostream_testkit::{
    clip::{Clip, bodies},
    nginx::Nginx,
    platform::{Behaviour, Platform},
    process::{Process, text},
};

use crate::show::Show;

/// nginx as the README has it, in front of this server.
async fn in_front_of(show: &Show) -> Nginx {
    let (api, rtmp) = (show.client.address, show.rtmp);
    let directives = format!(
        "notify_method post; on_publish http://{api}/api/streams/on_publish;
        on_publish_done http://{api}/api/streams/on_publish_done;
        push rtmp://{rtmp}/live;"
    );
    Nginx::start(&directives).await.expect("starts")
}

/// FFmpeg publishing a clip to nginx in real time, under this name.
pub fn publish(nginx: &Nginx, name: &str, clip: &Clip) -> Process {
    let url = format!("{}/{name}", nginx.url());
    let arguments = ["-hide_banner", "-loglevel", "warning", "-re", "-i", text(&clip.path), "-c", "copy", "-f", "flv"];
    Process::start("ffmpeg", &[arguments.as_slice(), &[&url]].concat()).expect("starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_through_nginx_is_relayed_seen_and_kept_as_if_it_had_come_here() {
    let clip = Clip::usual(15).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    // nginx closes, whether its encoder stopped or was lost, so the end is waited for.
    let show = Show::start(&[("GOSTREAM_INGEST_RECONNECT_GRACE", "3s")]).await;
    show.destination(&platform.url(), "key").await;
    let nginx = in_front_of(&show).await;
    let encoder = publish(&nginx, &show.key, &clip);
    show.until("live", |project| project["status"] == "live" && project["stream"]["previewReady"] == true)
        .await;
    platform.until_video(100).await;

    let (ended, said) = encoder.wait(Duration::from_secs(60)).await.expect("ends");
    assert!(ended.success(), "{said}");
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.goodbye)).await;
    assert_eq!(visits.len(), 1);
    // nginx begins to push at a keyframe, and forgets what it has not sent when its encoder leaves.
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
async fn nobody_gets_past_nginx_without_a_key_of_ours() {
    let clip = Clip::usual(5).expect("FFmpeg makes it");
    let show = Show::start(&[]).await;
    let nginx = in_front_of(&show).await;
    // An unknown key, and one with a known key in what the publisher adds to the form.
    for name in ["wrong".to_owned(), format!("wrong?name={}", show.key), format!("wrong?a=b&name={}&call=x", show.key)]
    {
        let (ended, _) = publish(&nginx, &name, &clip).wait(Duration::from_secs(30)).await.expect("ends");
        assert!(!ended.success(), "{name} was let in");
    }
    assert_eq!(show.status().await["status"], "offline");
}
