//! Anomalies in an encoder's messages, reported to the stream's owner.

/// Anomalies found or repaired. A flag stays set once the anomaly was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Start codes instead of length prefixes before NAL units; converted.
    pub start_codes: bool,
    /// Empty NAL units; removed.
    pub empty_units: bool,
    /// Slices of a picture in separate messages; joined from the second picture on.
    pub split_pictures: bool,
    /// Keyframe flags that the bitstream contradicts.
    pub wrong_flags: bool,
    /// Missing or empty video header; built from the in-band parameter sets.
    pub missing_header: bool,
    /// A video header that contradicts the in-band parameter sets; the parameter sets are used.
    pub contradicted_header: bool,
    /// AAC in ADTS frames; the ADTS headers are removed.
    pub adts: bool,
    /// AAC without a numbered channelConfiguration: it cannot be previewed.
    pub unnumbered_channels: bool,
}
