//! FFmpeg and GStreamer as encoders and players.

use std::time::{Duration, Instant};

use gostream_proto::rtmp::media::MediaKind;
use gostream_testkit::{
    clip::{Clip, bodies, tags},
    platform::{Behaviour, Platform},
    process::{Process, text},
};
use tempfile::TempDir;

use crate::show::Show;

/// A live test picture and tone from GStreamer's own RTMP client.
fn gstreamer(url: &str, buffers: u32) -> Process {
    let pipeline = format!(
        "videotestsrc is-live=true num-buffers={buffers} ! video/x-raw,width=320,height=180,framerate=30/1 ! x264enc \
         tune=zerolatency key-int-max=30 ! h264parse ! flvmux name=mux streamable=true ! rtmp2sink location={url} \
         audiotestsrc is-live=true num-buffers={buffers} samplesperbuffer=1470 ! avenc_aac ! aacparse ! mux."
    );
    let arguments: Vec<_> = pipeline.split_whitespace().collect();
    Process::start("gst-launch-1.0", &[&["-e"], arguments.as_slice()].concat()).expect("starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_publishes_and_its_stream_reaches_a_destination() {
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let show = Show::start(&[]).await;
    show.destination(&platform.url(), "key").await;
    let gst = gstreamer(&show.url(&show.key), 150);
    let status = show.until("live", |project| project["stream"]["video"]["width"] == 320).await;
    assert_eq!(status["stream"]["audio"]["codec"], "aac");
    platform.until_video(100).await;
    let (ended, said) = gst.wait(Duration::from_secs(30)).await.expect("ends");
    assert!(ended.success(), "{said}");
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_eq!(visits.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_plays_what_is_live() {
    let clip = Clip::usual(12).expect("FFmpeg makes it");
    let show = Show::start(&[]).await;
    let publisher = show.publish(&clip.path, &[]);
    show.until("live", |project| project["stream"]["video"]["width"] == 640).await;
    let folder = TempDir::new().expect("is made");
    let file = folder.path().join("played.flv");
    let url = show.url(&show.key);
    let arguments = ["-hide_banner", "-loglevel", "error", "-y", "-i", &url, "-t", "4", "-c", "copy", text(&file)];
    let player = Process::start("ffmpeg", &arguments).expect("starts");
    let (ended, said) = player.wait(Duration::from_secs(30)).await.expect("ends");
    assert!(ended.success(), "{said}");
    let (played, sent) = (bodies(&tags(&file).expect("is FLV"), MediaKind::Video), clip.bodies(MediaKind::Video));
    assert!(played.len() > 90, "{} video tags in four seconds", played.len());
    let frames: Vec<_> = played.iter().filter(|body| body.get(1) == Some(&1)).collect();
    let start = sent.iter().position(|body| body == frames[0]).expect("was sent");
    assert_eq!(frames[0][0], 0x17, "begins with a keyframe");
    assert!(frames.iter().zip(&sent[start..]).all(|(played, sent)| *played == sent), "in order, unchanged");
    drop(publisher);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_encoders_fail_at_once_with_a_wrong_key() {
    let clip = Clip::usual(5).expect("FFmpeg makes it");
    let show = Show::start(&[]).await;
    let wrong = show.url("5f0c7a52-0000-4000-8000-000000000000");
    let ffmpeg =
        ["-hide_banner", "-loglevel", "error", "-re", "-i", text(&clip.path), "-c", "copy", "-f", "flv", &wrong];
    for name in ["FFmpeg", "GStreamer"] {
        let started = Instant::now();
        let encoder = match name {
            "FFmpeg" => Process::start("ffmpeg", &ffmpeg).expect("starts"),
            _ => gstreamer(&wrong, 300),
        };
        let (ended, said) = encoder.wait(Duration::from_secs(20)).await.expect("ends");
        println!("{name} gave up after {:?}", started.elapsed());
        assert!(!ended.success(), "{name} reports success");
        assert!(said.contains("stream key") || said.contains("Denied") || said.contains("denied"), "{name}: {said}");
    }
    assert_eq!(show.status().await["status"], "offline");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_ffmpeg_continues_on_the_same_connections() {
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let show = Show::start(&[]).await;
    show.destination(&platform.url(), "key").await;
    let first = show.publish(&clip.path, &[]);
    platform.until_video(60).await;
    first.signal("KILL").expect("is killed");
    show.until("reconnecting", |project| project["status"] == "reconnecting").await;
    let killed = platform.visits()[0].media.len();
    let second = show.publish(&clip.path, &[]);
    let visits = platform.until("more", |visits| visits.len() > 1 || visits[0].media.len() > killed + 100).await;
    assert_eq!(visits.len(), 1, "the platform saw one connection");
    let times: Vec<_> = visits[0]
        .media
        .iter()
        .filter(|media| media.kind == MediaKind::Video)
        .map(|media| media.timestamp)
        .collect();
    assert!(times.is_sorted(), "times continue");
    drop(second);
}
