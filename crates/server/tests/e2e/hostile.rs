//! A thousand connections that mean harm, while one stream runs.

use std::time::Duration;

use gostream_proto::rtmp::media::MediaKind;
use gostream_testkit::{
    PATIENCE,
    clip::Clip,
    platform::{Behaviour, Platform},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::show::Show;

/// What may stay behind of attackers, in kilobytes: allocators do not give everything back.
const KEPT_KB_MAX: i64 = 24 * 1024;

/// A handshake, and then bytes that differ from attacker to attacker.
fn garbage(seed: usize) -> Vec<u8> {
    let mut bytes = vec![0; 3_073];
    bytes[0] = 3;
    let mut x = seed as u32 | 1;
    bytes.extend((0..20_000).map(|_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    }));
    match seed % 4 {
        0 => bytes,
        // Half a handshake, a handshake and silence, another protocol.
        1 => bytes[..1_700].to_vec(),
        2 => bytes[..3_073].to_vec(),
        _ => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_attackers_leave_nothing_behind_and_the_stream_misses_nothing() {
    let clip = Clip::usual(30).expect("FFmpeg makes it");
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let show = Show::start(&[]).await;
    show.destination(&platform.url(), "key").await;
    let ffmpeg = show.publish(&clip.path, &[]);
    platform.until_video(150).await;
    let before = show.resident_kb();
    for wave in 0..10 {
        let mut attackers = JoinSet::new();
        for n in 0..100 {
            let address = show.rtmp;
            attackers.spawn(async move {
                let Ok(mut stream) = TcpStream::connect(address).await else { return };
                let _ = stream.write_all(&garbage(wave * 100 + n)).await;
                let mut sink = [0; 4_096];
                // Those that are not closed at once leave by themselves.
                let reading = async { while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {} };
                let _ = timeout(Duration::from_millis(300), reading).await;
            });
        }
        timeout(PATIENCE, attackers.join_all()).await.expect("all are done");
    }
    let (ended, said) = ffmpeg.wait(Duration::from_secs(60)).await.expect("ends");
    assert!(ended.success(), "{said}");
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.goodbye)).await;
    let video = |media: &[_]| gostream_testkit::clip::bodies(media, MediaKind::Video).len();
    assert_eq!((visits.len(), video(&visits[0].media)), (1, video(&clip.tags)), "visits, video messages");
    let kept = show.resident_kb() - before;
    println!("kept after a thousand attackers: {kept} kB");
    assert!(kept < KEPT_KB_MAX, "{kept} kB stay behind");
}
