//! How long to wait before what failed is tried again.

use std::time::Duration;

/// How long to wait before what failed once is tried again.
const PAUSE: Duration = Duration::from_millis(250);
/// How often that wait is doubled at most: four seconds are soon enough for who comes back, and few lines in the log.
const DOUBLED: u32 = 4;

/// How often in a row something failed.
#[derive(Debug, Default)]
pub(crate) struct Failures(pub(crate) u32);

impl Failures {
    /// It failed once more. Answers how long to wait before the next try.
    pub(crate) fn another(&mut self) -> Duration {
        let wait = PAUSE * 2_u32.pow(self.0.min(DOUBLED));
        self.0 = self.0.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_long_is_tried_every_few_seconds_and_at_once_when_it_failed_once() {
        let mut failures = Failures::default();
        let mut waited = Duration::ZERO;
        while waited < Duration::from_mins(1) {
            waited += failures.another();
        }
        assert_eq!(failures.0, 19, "tries in a minute");
        assert_eq!(failures.another(), Duration::from_secs(4));
        assert_eq!(Failures(u32::MAX).another(), Duration::from_secs(4));
        assert_eq!(Failures::default().another(), PAUSE);
    }
}
