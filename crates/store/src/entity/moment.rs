//! A time in a column: milliseconds since 1970, UTC.
//!
//! An integer orders and compares in the same way on both databases. SQLite would store a timestamp as text with a
//! varying number of digits, and "…:05Z" sorts after "…:05.1Z".

use sea_orm::DeriveValueType;
use time::OffsetDateTime;

/// Milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, DeriveValueType)]
pub(crate) struct Moment(i64);

impl Moment {
    /// The current time.
    pub(crate) fn now() -> Self {
        OffsetDateTime::now_utc().into()
    }

    /// Milliseconds since 1970.
    pub(crate) fn ms(self) -> i64 {
        self.0
    }

    /// From milliseconds since 1970.
    pub(crate) fn from_ms(ms: i64) -> Self {
        Self(ms)
    }
}

impl From<OffsetDateTime> for Moment {
    fn from(time: OffsetDateTime) -> Self {
        // Years up to 9999 fit into eight bytes.
        Self(time.unix_timestamp() * 1_000 + i64::from(time.millisecond()))
    }
}

impl From<Moment> for OffsetDateTime {
    fn from(moment: Moment) -> Self {
        let nanos = i128::from(moment.0) * 1_000_000;
        // Only a row written by another program can be out of range.
        Self::from_unix_timestamp_nanos(nanos).unwrap_or(Self::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn keeps_milliseconds_and_drops_finer_digits() {
        let time = datetime!(2026-11-23 02:10:05.123_999 +02:00);
        let kept = OffsetDateTime::from(Moment::from(time));
        assert_eq!(kept, datetime!(2026-11-23 00:10:05.123 UTC));
        assert_eq!(kept.offset(), time::UtcOffset::UTC);
    }

    #[test]
    fn times_before_1970_round_down_as_well() {
        let time = datetime!(1969-12-31 23:59:59.250 UTC);
        assert_eq!(OffsetDateTime::from(Moment::from(time)), time);
    }
}
