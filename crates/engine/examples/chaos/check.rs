//! Invariants of a destination after a round. These functions panic if one is violated.

use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::platform::Visit;

use crate::stage::{assert_same, bodies, is_monotonic};

/// Holds for every platform: one connection at a time, times that do not go back, only media that was sent, and whole
/// GOPs.
pub fn holds_for_all(name: &str, visits: &[Visit], sent: &[Media]) {
    for (n, visit) in visits.iter().enumerate() {
        assert_eq!(visit.concurrent, 0, "{name}: visit {n} overlapped another one");
        assert!(is_monotonic(&visit.media), "{name}: time goes back in visit {n}");
        holds_whole_gops(name, &visit.media, sent);
    }
}

/// The platform received everything, on one connection that ended with an unpublish.
pub fn holds_everything(name: &str, visits: &[Visit], sent: &[Media]) {
    assert_eq!(visits.len(), 1, "{name}: one connection throughout");
    assert!(visits[0].unpublished, "{name}: ended with an unpublish");
    assert_same(&visits[0].media, sent);
}

/// A connection that its owner ended was unpublished if it carried media.
pub fn check_unpublished(name: &str, visits: &[Visit]) {
    for (n, visit) in visits.iter().enumerate() {
        let frames = frames(&visit.media);
        assert!(
            !visit.ended || visit.unpublished || frames == 0,
            "{name}: visit {n} ended after {frames} frames, without an unpublish"
        );
    }
}

/// Video is in the order sent, and begins with a keyframe, also after a gap.
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

/// Number of audio and video messages.
pub fn frames(media: &[Media]) -> usize {
    media.iter().filter(|media| media.kind != MediaKind::Metadata).count()
}
