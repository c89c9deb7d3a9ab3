//! Instants: `jiff::Timestamp` in code, whole microseconds since 1970 in storage.

pub use jiff::Timestamp;

/// Why a pair of seconds and nanoseconds is not an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an instant between the years -9999 and 9999")]
pub struct TimeError;

/// The instant as microseconds since the epoch; what is finer is dropped.
pub fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The instant at a number of microseconds since the epoch. What lies outside the calendar becomes its nearest end.
pub fn from_micros(micros: i64) -> Timestamp {
    let end = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(micros).unwrap_or(end)
}

/// Reads seconds and nanoseconds, as `google.protobuf.Timestamp` writes them; what is finer than a microsecond is
/// dropped, so that an instant reads back from storage as it was.
pub fn from_parts(seconds: i64, nanos: i32) -> Result<Timestamp, TimeError> {
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(TimeError);
    }
    let at = Timestamp::new(seconds, nanos).map_err(|_| TimeError)?;
    Ok(truncated(at))
}

/// Seconds and nanoseconds, the reverse of [`from_parts`]. Nanoseconds count forward also before 1970.
pub fn to_parts(at: Timestamp) -> (i64, i32) {
    let nanos = at.subsec_nanosecond();
    if nanos < 0 { (at.as_second() - 1, nanos + 1_000_000_000) } else { (at.as_second(), nanos) }
}

/// The instant without what is finer than a microsecond.
pub fn truncated(at: Timestamp) -> Timestamp {
    from_micros(micros(at))
}

/// The instant a number of milliseconds later, at most the end of the calendar.
pub fn after_ms(at: Timestamp, ms: i64) -> Timestamp {
    from_micros(micros(at).saturating_add(ms.saturating_mul(1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_back() {
        for us in [0, 1, -1, 1_700_000_000_123_456, -62_135_596_800_000_000] {
            let at = from_micros(us);
            assert_eq!(micros(at), us);
            let (seconds, nanos) = to_parts(at);
            assert_eq!(from_parts(seconds, nanos), Ok(at));
        }
    }

    #[test]
    fn the_calendar_has_ends() {
        assert_eq!(micros(from_micros(i64::MAX)), micros(Timestamp::MAX));
        assert_eq!(micros(from_micros(i64::MIN)), micros(Timestamp::MIN));
        assert_eq!(from_parts(i64::MAX, 0), Err(TimeError));
        assert_eq!(from_parts(0, -1), Err(TimeError));
        assert_eq!(from_parts(0, 1_000_000_000), Err(TimeError));
    }
}
