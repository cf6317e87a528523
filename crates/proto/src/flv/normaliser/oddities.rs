//! What is told of an encoder whose messages had to be mended.

/// What was mended or found odd, for the stream's owner to know. Each stays set once it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Start codes instead of lengths before NAL units; converted.
    pub start_codes: bool,
    /// Empty NAL units; left out.
    pub empty_units: bool,
    /// Slices of a picture in messages of their own; joined from the second picture on.
    pub split_pictures: bool,
    /// Keyframe flags that the bitstream contradicts.
    pub wrong_flags: bool,
    /// No video header, or an empty one; written from the parameter sets among the pictures.
    pub missing_header: bool,
    /// A video header that the parameter sets among the pictures contradict; those are used.
    pub contradicted_header: bool,
    /// AAC in ADTS frames; their headers are taken off.
    pub adts: bool,
    /// AAC whose channels have no number: it cannot be previewed.
    pub unnumbered_channels: bool,
}
