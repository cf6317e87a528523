//! Points in media time.

use std::{
    fmt,
    ops::{Add, Sub},
};

/// A point in media time, in milliseconds since the start of its broadcast. May be negative just after the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The start of media time.
    pub const ZERO: Self = Self(0);

    /// A timestamp of `ms` milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the start of the broadcast.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// The RTMP timestamp: the low 32 bits (RTMP 1.0 section 5.3.1, timestamps roll over).
    pub const fn wire(self) -> u32 {
        self.0 as u32
    }

    /// Milliseconds from `earlier` to `self`; negative when `self` is the earlier one.
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl Add<i64> for Timestamp {
    type Output = Self;

    fn add(self, ms: i64) -> Self {
        Self(self.0 + ms)
    }
}

impl Sub<i64> for Timestamp {
    type Output = Self;

    fn sub(self, ms: i64) -> Self {
        Self(self.0 - ms)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
