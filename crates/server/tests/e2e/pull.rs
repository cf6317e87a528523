//! A real nginx-rtmp in front that does not push: its hooks report publishers, and we pull the stream.

use std::time::Duration;

use gostream_proto::rtmp::media::MediaKind;
use gostream_testkit::{
    clip::{Clip, bodies},
    encoder::Encoder,
    nginx::Nginx,
    platform::{Behaviour, Platform},
    process::{Process, text},
    script::Script,
};
use serde_json::{Value, json};

use crate::{front::publish, show::Show};

/// nginx configured as in docs/running.md, in front of this server.
async fn in_front_of(show: &Show) -> Nginx {
    let api = show.client.address;
    let directives = format!(
        "notify_method post; on_publish http://{api}/api/streams/on_publish;
        on_publish_done http://{api}/api/streams/on_publish_done;"
    );
    Nginx::start(&directives).await.expect("starts")
}

/// Makes the project pull from there.
async fn pull(show: &Show, nginx: &Nginx) {
    let path = format!("/api/projects/{}", show.project);
    let project = show.client.patch(&path, json!({"pullUrl": nginx.url()})).await.json(200);
    assert_eq!(project["pullUrl"], nginx.url());
}

/// FFmpeg, publishing the clip in a loop.
fn publish_for_long(nginx: &Nginx, name: &str, clip: &Clip) -> Process {
    let url = format!("{}/{name}", nginx.url());
    let input = ["-hide_banner", "-loglevel", "warning", "-re", "-stream_loop", "-1", "-i", text(&clip.path)];
    let output = ["-c", "copy", "-f", "flv", &url];
    Process::start("ffmpeg", &[input.as_slice(), &output].concat()).expect("starts")
}

async fn until_live(show: &Show) -> Value {
    show.until("live", |project| project["status"] == "live" && project["stream"]["previewReady"] == true)
        .await
}

/// The streams in the history, newest first, once the newest has ended.
async fn history(show: &Show) -> Vec<Value> {
    loop {
        let page = show.client.get(&format!("/api/projects/{}/streams", show.project)).await.json(200);
        let streams = page["items"].as_array().expect("is a list");
        if streams.first().is_some_and(|stream| stream["status"] == "ended") {
            return streams.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_pulled_from_nginx_is_treated_like_an_encoder() {
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let show = Show::start(&[]).await;
    show.destination(&platform.url(), "key").await;
    let nginx = in_front_of(&show).await;
    pull(&show, &nginx).await;
    let encoder = publish(&nginx, &show.key, &clip);
    let live = until_live(&show).await;
    assert_eq!((&live["pull"]["state"], &live["pull"]["lastError"]), (&json!("live"), &Value::Null));
    platform.until_video(50).await;
    let playlist = show.client.get(&format!("/hls/{}/index.m3u8", text_of(&live["playbackId"]))).await;
    assert!(playlist.status == 200 && playlist.text().contains("#EXT"), "{}", playlist.text());

    // nginx refuses a second publisher, and reports its end under the same name.
    let (second, _) = publish(&nginx, &show.key, &clip).wait(Duration::from_secs(30)).await.expect("ends");
    assert!(!second.success(), "nginx accepts one");
    let so_far = platform.visits()[0].media.len();
    platform.wait_for("more pictures", |visits| visits[0].media.len() > so_far + 100).await;
    assert_eq!(show.status().await["stream"]["id"], live["stream"]["id"]);

    let (ended, said) = encoder.wait(Duration::from_secs(60)).await.expect("ends");
    assert!(ended.success(), "{said}");
    // Sooner than the grace time for a lost encoder.
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_eq!(visits.len(), 1);
    let (got, sent) = (bodies(&visits[0].media, MediaKind::Video), clip.bodies(MediaKind::Video));
    let mut rest = sent.iter();
    let strays = got.iter().filter(|body| !rest.any(|sent| sent == *body)).count();
    assert!(got.len() > 400 && strays == 0, "{} pictures, {strays} changed or out of order", got.len());
    show.until("offline", |project| project["status"] == "offline").await;
    let streams = history(&show).await;
    assert_eq!((streams.len(), &streams[0]["endReason"]), (1, &json!("encoder_stopped")), "{streams:?}");
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("is a text")
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_of_a_publisher_reach_no_other_project() {
    let clip = Clip::usual(5).expect("FFmpeg makes it");
    let show = Show::start(&[]).await;
    let nginx = in_front_of(&show).await;
    pull(&show, &nginx).await;
    let mine = json!({"name": "Mine", "pullUrl": nginx.url()});
    let mine = show.client.post("/api/projects", mine).await.json(201);
    let path = format!("/api/projects/{}", text_of(&mine["id"]));

    // An unknown key is refused in front, whatever follows it.
    for name in ["wrong".to_owned(), format!("wrong?name={}&call=publish", show.key)] {
        let (ended, _) = publish(&nginx, &name, &clip).wait(Duration::from_secs(30)).await.expect("ends");
        assert!(!ended.success(), "{name} was admitted");
    }
    // The publisher's own key, followed by another account's key.
    let name = format!("{}?name={}&clientid=1", text_of(&mine["streamKey"]), show.key);
    let encoder = publish_for_long(&nginx, &name, &clip);
    let live = async {
        while show.client.get(&path).await.json(200)["status"] != "live" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(gostream_testkit::PATIENCE, live).await.expect("one's own goes live");
    let other = show.status().await;
    assert_eq!((&other["status"], &other["pull"]["state"]), (&json!("offline"), &json!("waiting")));
    drop(encoder);
}

/// nginx would keep the white space in the stream's name, and the stream would not be found under its key.
#[tokio::test(flavor = "multi_thread")]
async fn key_with_white_space_is_pulled_without_it() {
    let show = Show::start(&[]).await;
    let nginx = in_front_of(&show).await;
    pull(&show, &nginx).await;
    // FFmpeg would remove it.
    let name = format!(" {} \n", show.key);
    let mut encoder = Encoder::publish(([127, 0, 0, 1], nginx.port).into(), &name).await.expect("is admitted");
    let sending = tokio::spawn(async move {
        let frames = Script { ms: 60_000, ..Script::default() }.write();
        encoder.send_paced(&frames, 1.0).await
    });
    let live = show.until("live", |project| project["status"] == "live").await;
    // The connection ends, and nginx calls `on_publish_done`.
    sending.abort();
    show.until("offline", |project| project["status"] == "offline").await;
    let streams = history(&show).await;
    assert_eq!(
        (streams.len(), &streams[0]["id"], &streams[0]["endReason"]),
        (1, &live["stream"]["id"], &json!("encoder_stopped"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_restart_keeps_platform_connections() {
    let clip = Clip::usual(5).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let show = Show::start(&[]).await;
    show.destination(&platform.url(), "key").await;
    let mut nginx = in_front_of(&show).await;
    pull(&show, &nginx).await;
    let encoder = publish_for_long(&nginx, &show.key, &clip);
    let live = until_live(&show).await;
    platform.until_video(50).await;

    nginx.crash_and_restart().await.expect("starts again");
    show.until("held", |project| project["status"] == "reconnecting").await;
    drop(encoder);
    let encoder = publish_for_long(&nginx, &show.key, &clip);
    let back = show.until("back", |project| project["status"] == "live").await;
    assert_eq!(back["stream"]["id"], live["stream"]["id"], "it is the same stream");
    let so_far = platform.visits()[0].media.len();
    platform.wait_for("more pictures", |visits| visits[0].media.len() > so_far + 100).await;
    assert_eq!(platform.visits().len(), 1, "one connection for both");

    encoder.signal("INT").expect("is signalled");
    let visits = platform.until("the goodbye", |visits| visits[0].unpublished).await;
    assert_eq!(visits.len(), 1);
    assert_eq!(history(&show).await[0]["endReason"], "encoder_stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_that_started_before_us_is_pulled() {
    let clip = Clip::usual(5).expect("FFmpeg makes it");
    let mut show = Show::start(&[]).await;
    let nginx = in_front_of(&show).await;
    pull(&show, &nginx).await;
    let _encoder = publish_for_long(&nginx, &show.key, &clip);
    let before = until_live(&show).await;
    show.kill_and_restart().await;
    let after = until_live(&show).await;
    assert_ne!(after["stream"]["id"], before["stream"]["id"]);
    assert_eq!(after["pull"]["state"], "live");
}
