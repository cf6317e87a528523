//! PictureFormat size and frame rate, from a sequence parameter set or a sequence header.

use super::error::Error;

/// PictureFormat size and, if signalled, frame rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureFormat {
    /// Pixels, after cropping.
    pub width: u32,
    /// Pixels, after cropping.
    pub height: u32,
    /// Frames per second.
    pub fps: Option<f64>,
}

impl PictureFormat {
    /// Applies cropping. `crop` is the sum of both sides, in pixels.
    pub(super) fn cropped(coded: (u64, u64), crop: (u64, u64), fps: Option<f64>) -> Result<Self, Error> {
        let side = |coded: u64, crop: u64| {
            coded
                .checked_sub(crop)
                .filter(|&side| side > 0)
                .and_then(|side| side.try_into().ok())
                .ok_or(Error::Invalid)
        };
        Ok(Self { width: side(coded.0, crop.0)?, height: side(coded.1, crop.1)?, fps })
    }
}
