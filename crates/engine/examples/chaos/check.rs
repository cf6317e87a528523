//! What must hold for a destination whatever happened. Everything here panics with what does not.

use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::platform::Visit;

use crate::stage::{assert_same, bodies, is_monotonic};

/// True of every platform: one connection at a time, no time that goes back, nothing that was not sent, whole GOPs.
pub fn holds_for_all(name: &str, visits: &[Visit], sent: &[Media]) {
    for (n, visit) in visits.iter().enumerate() {
        assert_eq!(visit.beside, 0, "{name}: visit {n} came beside another one");
        assert!(is_monotonic(&visit.media), "{name}: time goes back in visit {n}");
        holds_whole_gops(name, &visit.media, sent);
    }
}

/// It got all that was sent, on one connection that said goodbye.
pub fn holds_everything(name: &str, visits: &[Visit], sent: &[Media]) {
    assert_eq!(visits.len(), 1, "{name}: one connection throughout");
    assert!(visits[0].goodbye, "{name}: was said goodbye to");
    assert_same(&visits[0].media, sent);
}

/// What its owner ended was said goodbye to, if anything was sent.
pub fn holds_goodbyes(name: &str, visits: &[Visit]) {
    for (n, visit) in visits.iter().enumerate() {
        let frames = frames(&visit.media);
        assert!(
            !visit.over || visit.goodbye || frames == 0,
            "{name}: visit {n} ended after {frames} frames, in silence"
        );
    }
}

/// Video in the order in which it was sent; it begins with a keyframe, and so does what follows a gap.
fn holds_whole_gops(name: &str, media: &[Media], sent: &[Media]) {
    let is_frame = |body: &&bytes::Bytes| body.get(1) == Some(&1);
    let [_, sent] = bodies(sent);
    let sent: Vec<_> = sent.iter().filter(is_frame).collect();
    let [_, received] = bodies(media);
    let mut position = None;
    for (n, body) in received.iter().filter(is_frame).enumerate() {
        let from = position.map_or(0, |position| position + 1);
        let Some(skipped) = sent[from..].iter().position(|sent| *sent == body) else {
            panic!("{name}: frame {n} was not sent, or not in this order")
        };
        let follows = position.is_some() && skipped == 0;
        assert!(follows || body[0] == 0x17, "{name}: frame {n} follows a gap and is no keyframe");
        position = Some(from + skipped);
    }
}

/// Messages of audio and video.
pub fn frames(media: &[Media]) -> usize {
    media.iter().filter(|media| media.kind != MediaKind::Metadata).count()
}
