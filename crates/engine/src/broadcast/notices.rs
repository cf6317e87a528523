//! Notices for the owner of a stream: each problem once, with what to change in the encoder.

use std::time::SystemTime;

use gostream_proto::{
    flv::Oddities,
    time::Findings,
    track::{AudioCodec, VideoCodec},
};

use super::ring::StartReason;
use crate::status::Notice;

/// The notices of one broadcast, oldest first. There is one per code, so the codes bound their number.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    all: Vec<Notice>,
    /// Not sent to the history yet.
    unreported: Vec<Notice>,
}

/// The encoder sends less than real time. Removed when it keeps up.
const SLOW_ENCODER: &str = "slow_encoder";
/// The uplink of this server is too small. Removed when it suffices.
const UPLINK: &str = "uplink_too_small";

impl Notices {
    /// Adds a notice, or replaces the message of the notice with that code.
    pub(crate) fn add(&mut self, code: &'static str, message: String) {
        match self.all.iter_mut().find(|notice| notice.code == code) {
            Some(known) => known.message = message,
            None => {
                let notice = Notice { code, message, since: SystemTime::now() };
                self.all.push(notice.clone());
                self.unreported.push(notice);
            }
        }
    }

    /// Removes a notice that no longer applies. Returns whether it existed.
    fn remove(&mut self, code: &'static str) -> bool {
        let before = self.all.len();
        self.all.retain(|notice| notice.code != code);
        self.all.len() < before
    }

    /// The encoder or its network achieves this share of real time, in percent; `None` when it keeps up.
    pub(crate) fn set_slow_encoder(&mut self, percent: Option<u32>) {
        if let Some(percent) = percent {
            let message = format!(
                "Your encoder or its line manages {percent} % of real time, so the stream stutters for viewers. Check \
                 the load of the encoder; if it is low, the upload is too slow for the bitrate: lower the bitrate, or \
                 use another network."
            );
            self.add(SLOW_ENCODER, message);
        } else if self.remove(SLOW_ENCODER) {
            let message = "Your encoder and its network keep up with real time again.".to_owned();
            self.unreported.push(Notice { code: "encoder_keeps_up", message, since: SystemTime::now() });
        }
    }

    /// Sets or clears the notice about an uplink that is too small.
    pub(crate) fn set_uplink(&mut self, short: Option<String>) {
        if let Some(message) = short {
            self.add(UPLINK, message);
        } else if self.remove(UPLINK) {
            let message = "The uplink of your server carries all destinations again.".to_owned();
            self.unreported.push(Notice { code: "uplink_suffices", message, since: SystemTime::now() });
        }
    }

    /// A destination's delay is `delay_ms` instead of `asked_ms`, because there is no room to keep more of the stream.
    pub(crate) fn add_shortened_delay(&mut self, asked_ms: i64, delay_ms: i64) {
        let (asked, left) = (asked_ms / 1_000, delay_ms as f64 / 1_000.0);
        let message = format!(
            "Your stream is too large to be kept for {asked} s. A destination with that delay gets it {left:.0} s \
             later. Lower the              bitrate in your encoder, or the delay of the destination."
        );
        self.add("delay_shortened", message);
    }

    /// The encoder left, or another one connected.
    pub(crate) fn forget_slow_encoder(&mut self) {
        self.remove(SLOW_ENCODER);
    }

    /// A reader had to start without a keyframe or without pictures.
    pub(crate) fn add_start(&mut self, reason: StartReason) {
        match reason {
            StartReason::Keyframe | StartReason::AudioOnly => {}
            StartReason::PicturesAway => self.add(
                "no_pictures",
                "Your encoder announced video, but sends no pictures. Destinations get only sound until pictures \
                 arrive; check the camera or the source in your encoder."
                    .to_owned(),
            ),
            StartReason::NoKeyframe => self.add(
                "no_keyframe",
                "No keyframe arrived for ten seconds, so a destination had to start in the middle of a picture group \
                 and shows a broken picture at first. Set the keyframe interval in your encoder to 2 s."
                    .to_owned(),
            ),
        }
    }

    /// Repairs of messages.
    pub(crate) fn add_oddities(&mut self, oddities: Oddities) {
        let Oddities {
            start_codes,
            empty_units,
            split_pictures,
            wrong_flags,
            missing_header,
            contradicted_header,
            adts,
            unnumbered_channels,
        } = oddities;
        for (seen, code, message) in [
            (
                start_codes,
                "start_codes",
                "Your encoder sends H.264 with start codes where RTMP has lengths. GoStream converts them; set its \
                 output to FLV/RTMP (AVCC), not to a raw byte stream.",
            ),
            (
                empty_units,
                "empty_units",
                "Your encoder sends empty NAL units, which browsers and platforms refuse. GoStream removes them; an \
                 update of the encoder may help.",
            ),
            (
                split_pictures,
                "split_pictures",
                "Your encoder sends each picture in several messages, which players show as flicker. GoStream joins \
                 them; an update of the encoder may help.",
            ),
            (
                wrong_flags,
                "wrong_keyframe_flags",
                "Your encoder marks keyframes incorrectly. GoStream detects them in the pictures instead; an update of \
                 the encoder may help.",
            ),
            (
                missing_header,
                "missing_video_header",
                "Your encoder sent no usable video header. GoStream makes one from the stream; an update of the \
                 encoder may help.",
            ),
            (
                contradicted_header,
                "contradicted_video_header",
                "Your encoder's video header contradicts its pictures. GoStream uses the pictures; restart the encoder \
                 after changing its resolution.",
            ),
            (
                adts,
                "adts",
                "Your encoder sends AAC with ADTS headers, which no platform accepts in RTMP. GoStream removes them; \
                 set its audio to raw AAC if it can.",
            ),
            (
                unnumbered_channels,
                "audio_channels",
                "The channel layout of your sound has no number in AAC, so browsers cannot preview it; destinations \
                 get it unchanged. Choose stereo or 5.1 in your encoder.",
            ),
        ] {
            if seen {
                self.add(code, message.to_owned());
            }
        }
    }

    /// Findings about the encoder's timestamps.
    pub(crate) fn add_findings(&mut self, findings: Findings) {
        let Findings { outliers, jumps, skew_ms, drift_percent } = findings;
        if outliers > 0 {
            let (packets, them) = if outliers == 1 {
                ("One packet of your encoder had a timestamp", "it")
            } else {
                ("Some packets of your encoder had timestamps", "them")
            };
            let message = format!(
                "{packets} far from those of the others. GoStream corrected {them}; an update of the encoder may help."
            );
            self.add("clock_outliers", message);
        }
        if jumps > 0 {
            self.add(
                "clock_jumped",
                "Your encoder's clock jumped while it was sending. The stream continues without a gap; if it happens \
                 often, set the encoder to use the system clock, or restart it."
                    .to_owned(),
            );
        }
        if let Some(skew_ms) = skew_ms {
            let (late, early) = if skew_ms > 0 { ("pictures", "sound") } else { ("sound", "pictures") };
            let seconds = skew_ms.unsigned_abs() as f64 / 1_000.0;
            let message = format!(
                "Your encoder sends its {late} {seconds:.1} s after its {early}. GoStream keeps this offset; if lips \
                 and voice are apart, set the audio sync offset in your encoder."
            );
            self.add("track_skew", message);
        }
        if let Some(percent) = drift_percent {
            let speed = if percent > 0.0 { "fast" } else { "slow" };
            let percent = percent.abs();
            let message = format!(
                "Your encoder's clock runs {percent:.1} % {speed}. Times are kept in step with real time; set the \
                 encoder to use the system clock, and check whether it is overloaded."
            );
            self.add("clock_drift", message);
        }
    }

    /// Codecs that the preview leaves out.
    pub(crate) fn add_unsupported(&mut self, video: Option<VideoCodec>, audio: Option<AudioCodec>) {
        if let Some(codec) = video {
            let message = format!(
                "Video of this kind ({}) cannot be previewed in a browser; destinations get it unchanged.",
                codec.name()
            );
            self.add("preview_without_video", message);
        }
        if let Some(codec) = audio.filter(|codec| *codec != AudioCodec::Aac) {
            let message = format!(
                "Sound of this kind ({}) cannot be previewed in a browser; destinations get it unchanged. Platforms \
                 require AAC.",
                codec.name()
            );
            self.add("preview_without_sound", message);
        }
    }

    /// All current notices.
    pub(crate) fn all(&self) -> &[Notice] {
        &self.all
    }

    /// Takes the notices that were not sent to the history yet.
    pub(crate) fn take_new(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.unreported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_listed_and_reported_once() {
        let mut notices = Notices::default();
        notices.add("clock_drift", "2 %".to_owned());
        notices.add("start_codes", "converted".to_owned());
        notices.add("clock_drift", "4 %".to_owned());
        let messages: Vec<_> = notices.all().iter().map(|notice| notice.message.as_str()).collect();
        assert_eq!(messages, ["4 %", "converted"]);
        assert_eq!(notices.take_new().len(), 2);
        assert!(notices.take_new().is_empty());
    }

    #[test]
    fn slow_encoder_is_listed_while_slow_and_both_changes_are_reported() {
        let mut notices = Notices::default();
        let codes = |notices: &mut Notices| notices.take_new().iter().map(|notice| notice.code).collect::<Vec<_>>();
        notices.set_slow_encoder(None);
        assert!(codes(&mut notices).is_empty(), "no report without an earlier notice");
        notices.set_slow_encoder(Some(60));
        notices.set_slow_encoder(Some(52));
        assert!(notices.all()[0].message.starts_with("Your encoder or its line manages 52 % of real time"));
        assert_eq!(codes(&mut notices), ["slow_encoder"]);
        notices.set_slow_encoder(None);
        assert!(notices.all().is_empty());
        assert_eq!(codes(&mut notices), ["encoder_keeps_up"]);
        notices.set_slow_encoder(Some(40));
        notices.forget_slow_encoder();
        assert!(notices.all().is_empty());
        assert_eq!(codes(&mut notices), ["slow_encoder"]);
    }
}
