//! The one source of time, and of the ids that are drawn by it.
//!
//! Owns the difference between three kinds of time. `business()` is what due times, holds and opening hours are
//! measured against; it may be virtual, and then moves only by [`Clock::advance_to`]. `shared()` is what several
//! processes agree on, for retries that another process may find due. `wall()` is this machine's clock, for polls,
//! back-off, deadlines and ids; it is never virtual.
//!
//! Always true: `business()` has whole microseconds (what the databases keep), never goes back on a virtual clock, and
//! on a system clock runs with the machine's monotonic clock: it follows a reference (the database's time) by
//! [`Clock::follow`], and no leap of the reference or of the machine moves it unless somebody says so
//! ([`Clock::adopt`]). Absent on purpose: time zones and calendars (`domain`), timers (each service keeps rows of its
//! own).

mod followed;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

pub use followed::Follow;
use followed::Followed;

/// A handle on time; clones share the same clock.
#[derive(Clone)]
pub struct Clock {
    business: Business,
    /// What a test adds to the machine's time, in microseconds.
    shift: Arc<AtomicI64>,
}

#[derive(Clone)]
enum Business {
    System(Arc<Followed>),
    /// Microseconds since the epoch.
    Virtual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock for all kinds of time.
    pub fn system() -> Self {
        Self::shifted(Arc::default())
    }

    /// The same on a machine whose clock is off by `shift` microseconds, which a test may change at any time.
    pub fn shifted(shift: Arc<AtomicI64>) -> Self {
        let start = machine(&shift);
        Self { business: Business::System(Arc::new(Followed::from(start))), shift }
    }

    /// A clock whose business time stands at `at` until it is moved.
    pub fn virtual_at(at: Timestamp) -> Self {
        let business = Business::Virtual(Arc::new(AtomicI64::new(at.as_microsecond())));
        Self { business, shift: Arc::default() }
    }

    /// The time that business rules see, cut to whole microseconds.
    pub fn business(&self) -> Timestamp {
        match &self.business {
            Business::System(followed) => followed.now(),
            Business::Virtual(at) => from_micros(at.load(Ordering::SeqCst)),
        }
    }

    /// The machine's time, for polls and deadlines. Never compare it with what another process wrote.
    pub fn wall(&self) -> Timestamp {
        machine(&self.shift)
    }

    /// The time that several processes agree on: business time, or the machine's where that is virtual.
    pub fn shared(&self) -> Timestamp {
        match &self.business {
            Business::System(followed) => followed.now(),
            Business::Virtual(_) => self.wall(),
        }
    }

    /// Takes note of what the reference of business time says, whose answer took `took`. A virtual clock has none.
    pub fn follow(&self, reference: Timestamp, took: Duration) -> Follow {
        match &self.business {
            Business::System(followed) => followed.follow(reference, took),
            Business::Virtual(_) => Follow::Followed,
        }
    }

    /// How far the reference is ahead of business time after a leap, in microseconds.
    pub fn leap(&self) -> Option<i64> {
        match &self.business {
            Business::System(followed) => followed.leap(),
            Business::Virtual(_) => None,
        }
    }

    /// Sets business time by the reference after a leap: somebody knows that the reference is right.
    pub fn adopt(&self) {
        if let Business::System(followed) = &self.business {
            followed.adopt();
        }
    }

    /// Whether business time stands still between calls of [`Clock::advance_to`].
    pub fn is_virtual(&self) -> bool {
        match self.business {
            Business::System(_) => false,
            Business::Virtual(_) => true,
        }
    }

    /// Moves business time forward to `to`. Answers whether it moved: false for an earlier or equal time, and
    /// always false on a system clock.
    pub fn advance_to(&self, to: Timestamp) -> bool {
        match &self.business {
            Business::System(_) => false,
            Business::Virtual(at) => {
                let to = to.as_microsecond();
                at.fetch_max(to, Ordering::SeqCst) < to
            }
        }
    }

    /// A new id that nobody has, ordered by wall time (UUID version 7). Rules take ids and draw none.
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// Sleeps for `duration` of wall time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that is to be asked")]
    pub async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_virtual() { "virtual" } else { "system" };
        write!(f, "Clock({kind} {})", self.business())
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
fn machine(shift: &AtomicI64) -> Timestamp {
    let now = Timestamp::now();
    match shift.load(Ordering::SeqCst) {
        0 => now,
        micros => from_micros(now.as_microsecond().saturating_add(micros)),
    }
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Every value passed here was a valid timestamp before, so the fallback is never taken.
fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_system_clock_follows_the_machine_and_cannot_be_moved() {
        let clock = Clock::system();
        let before = clock.business();
        assert!(!clock.advance_to(at("2999-01-01T00:00:00Z")));
        assert!(clock.business() >= before);
        assert!(clock.business() < at("2999-01-01T00:00:00Z"));
        assert!(!clock.is_virtual());
    }

    #[test]
    fn business_time_has_whole_microseconds() {
        assert_eq!(Clock::system().business().subsec_nanosecond() % 1_000, 0);
        let clock = Clock::virtual_at(at("2011-12-01T08:26:00.123456789Z"));
        assert_eq!(clock.business(), at("2011-12-01T08:26:00.123456Z"));
    }

    #[test]
    fn a_leap_of_the_machine_moves_its_wall_time_alone() {
        let shift = Arc::new(AtomicI64::new(0));
        let clock = Clock::shifted(Arc::clone(&shift));
        let before = clock.business();
        shift.store(3_600_000_000, Ordering::SeqCst);
        assert!(clock.wall().as_microsecond() - before.as_microsecond() > 3_500_000_000);
        assert!(clock.business().as_microsecond() - before.as_microsecond() < 3_000_000_000);
        assert!(clock.shared().as_microsecond() - before.as_microsecond() < 3_000_000_000);
    }

    #[test]
    fn new_ids_ascend_also_where_business_time_stands_still() {
        let clock = Clock::virtual_at(at("2011-12-01T08:00:00Z"));
        let ids: Vec<Uuid> = (0..1_000).map(|_| clock.new_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_virtual_clock_follows_nothing() {
        let clock = Clock::virtual_at(at("2011-12-01T08:00:00Z"));
        assert_eq!(clock.follow(clock.wall(), Duration::ZERO), Follow::Followed);
        assert_eq!(clock.leap(), None);
        clock.adopt();
        assert_eq!(clock.business(), at("2011-12-01T08:00:00Z"));
        assert!(clock.shared() > at("2020-01-01T00:00:00Z"));
    }

    #[test]
    fn a_virtual_clock_moves_only_forward() {
        let clock = Clock::virtual_at(at("2011-12-01T08:00:00Z"));
        assert!(clock.advance_to(at("2011-12-01T09:00:00Z")));
        assert!(!clock.advance_to(at("2011-12-01T09:00:00Z")));
        assert!(!clock.advance_to(at("2011-12-01T08:30:00Z")));
        assert_eq!(clock.business(), at("2011-12-01T09:00:00Z"));
    }

    #[test]
    fn clones_share_the_same_virtual_time() {
        let clock = Clock::virtual_at(at("2011-12-01T08:00:00Z"));
        let other = clock.clone();
        clock.advance_to(at("2011-12-01T10:00:00Z"));
        assert_eq!(other.business(), at("2011-12-01T10:00:00Z"));
    }

    #[test]
    fn wall_time_is_real_on_a_virtual_clock() {
        let clock = Clock::virtual_at(at("2011-12-01T08:00:00Z"));
        assert!(clock.wall() > at("2020-01-01T00:00:00Z"));
    }

    #[test]
    fn twenty_threads_moving_one_clock_end_at_the_latest_time() {
        let clock = Clock::virtual_at(Timestamp::UNIX_EPOCH);
        std::thread::scope(|scope| {
            for second in 1..=20 {
                let clock = clock.clone();
                scope.spawn(move || clock.advance_to(Timestamp::from_second(second).unwrap()));
            }
        });
        assert_eq!(clock.business(), Timestamp::from_second(20).unwrap());
    }

    #[tokio::test]
    async fn a_pause_takes_wall_time() {
        let clock = Clock::virtual_at(Timestamp::UNIX_EPOCH);
        let before = clock.wall();
        clock.pause(Duration::from_millis(5)).await;
        assert!(clock.wall().duration_since(before).as_millis() >= 4);
        assert_eq!(clock.business(), Timestamp::UNIX_EPOCH);
    }
}
