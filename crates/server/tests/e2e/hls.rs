//! The classic HLS output, as players read it.

use std::time::Duration;

use gostream_testkit::{clip::Clip, process::output};
use serde_json::Value;

use crate::show::Show;

#[tokio::test(flavor = "multi_thread")]
async fn ffprobe_reads_the_playlist_and_times_continue_across_segments() {
    let clip = Clip::usual(20).expect("FFmpeg makes it");
    let show = Show::start(&[]).await;
    let path = format!("/hls/{}.m3u8", show.key);
    assert_eq!(show.client.get(&path).await.status, 404, "offline");
    let ffmpeg = show.publish(&clip.path, &[]);
    let url = format!("http://{}{path}", show.client.address);
    show.until("live", |project| project["status"] == "live").await;
    let mut playlist = show.client.get(&path).await;
    while playlist.text().matches("#EXTINF").count() < 5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        playlist = show.client.get(&path).await;
    }
    assert_eq!(playlist.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(playlist.header("access-control-allow-origin"), "*");
    assert!(!playlist.text().contains("DISCONTINUITY"), "{}", playlist.text());

    let probe = tokio::task::spawn_blocking(move || {
        output(
            "ffprobe",
            &[
                "-v",
                "error",
                "-of",
                "json",
                "-show_entries",
                "stream=codec_name:packet=codec_type,dts_time",
                "-read_intervals",
                "%+6",
                "-live_start_index",
                "0",
                &url,
            ],
        )
    });
    let probed: Value = serde_json::from_str(&probe.await.expect("runs").expect("reads it")).expect("is JSON");
    let codecs: Vec<_> =
        probed["streams"].as_array().expect("is a list").iter().map(|s| s["codec_name"].as_str()).collect();
    assert!(codecs.contains(&Some("h264")) && codecs.contains(&Some("aac")), "{codecs:?}");
    for kind in ["video", "audio"] {
        let packets = probed["packets"]
            .as_array()
            .expect("is a list")
            .iter()
            .filter(|packet| packet["codec_type"] == kind);
        let times: Vec<f64> = packets.filter_map(|packet| packet["dts_time"].as_str()?.parse().ok()).collect();
        assert!(times.len() > 100, "{kind}: {} packets", times.len());
        assert!(times.is_sorted_by(|a, b| a < b), "{kind} times continue across segments");
    }
    drop(ffmpeg);
}
