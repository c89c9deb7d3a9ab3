//! How fast calls are, and how many may run at once because of it. Numbers only: no clock, no waiting.

use std::time::Duration;

use tokio::time::Instant;

/// Latency up to this, in seconds, is never taken for a queue: batches of writers and small disks need as much, and
/// smaller batches cost more for each call.
const CALM: f64 = 0.6;
/// Or up to this part of the time that the callers wait, if that is less.
const HASTE: f64 = 0.2;
/// A method is under pressure when its calls take this many times as long as at best.
const STRETCH: f64 = 8.0;
/// What a call takes at best is forgotten this slowly, in seconds: an overload must not become the norm.
const NORM: f64 = 1_200.0;
/// And always when they take more than this part of the time that their callers wait.
const PATIENCE: f64 = 0.5;
/// After this many seconds without a call what is known of a method's service time begins to fade, and loses half in each
/// second more.
const REMEMBER: f64 = 2.0;

/// The service time of one method.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    /// What a call usually takes, in seconds; rather too low than too high, since it refuses.
    usual: f64,
    /// What it takes at best, in seconds.
    best: f64,
    seen: Option<Instant>,
    /// Calls that came too late by what is usual.
    late: u32,
}

/// One in this number of calls that come too late is let in.
const PROBE: u32 = 16;

impl Pace {
    /// Counts a call that comes too late; answers whether it is let in to find out what it takes.
    pub(crate) fn is_probe(&mut self) -> bool {
        self.late = self.late.wrapping_add(1);
        self.late.is_multiple_of(PROBE)
    }

    /// Counts a call whose caller waits for `budget`; answers how much pressure it was under: 1 is what is bearable.
    pub(crate) fn took(&mut self, took: Duration, budget: Duration, now: Instant) -> f64 {
        let (took, budget) = (took.as_secs_f64(), budget.as_secs_f64());
        if self.seen.is_none() {
            (self.usual, self.best) = (took, took);
        }
        let since = self.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        self.usual = self.usual_at(now);
        self.usual += (took - self.usual) * if took < self.usual { 0.2 } else { 0.05 };
        self.best = if took < self.best {
            took
        } else {
            self.best + (took - self.best) * since.as_secs_f64().min(1.0) / NORM
        };
        self.seen = Some(now);
        let calm = CALM.min(HASTE * budget);
        took / calm.max(STRETCH * self.best).min(PATIENCE * budget).max(f64::EPSILON)
    }

    /// What a call usually takes. After a stall the memory of it fades, so that somebody gets in to find out.
    pub(crate) fn usual(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.usual_at(now))
    }

    fn usual_at(&self, now: Instant) -> f64 {
        let idle = self.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        self.usual * (-(idle.as_secs_f64() - REMEMBER).max(0.0)).exp2()
    }
}

/// How many calls may run at once: it follows the pressure that they are under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    now: f64,
    least: f64,
    most: f64,
    window: Option<Window>,
}

/// The calls since the last change of the limit.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    calls: u32,
    pressure: f64,
    was_reached: bool,
}

/// The limit changes at most this often, and after this many calls.
const WINDOW: (Duration, u32) = (Duration::from_millis(100), 10);
/// Where the limit begins.
const FIRST: f64 = 128.0;
/// It falls no lower: even a slow database takes as many.
const LEAST: f64 = 4.0;
/// In one step it loses no more than this share.
const STEP: f64 = 0.6;

impl Limit {
    /// A limit that moves up to `most`.
    pub(crate) fn up_to(most: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "places are few")]
        let most = most as f64;
        Self { now: FIRST.min(most), least: LEAST.min(most), most, window: None }
    }

    /// One that stays.
    pub(crate) fn fixed(most: usize) -> Self {
        let limit = Self::up_to(most);
        Self { now: limit.most, least: limit.most, ..limit }
    }

    pub(crate) fn places(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 1 and most"
        )]
        let places = self.now as usize;
        places.max(1)
    }

    /// A call ended that was under such pressure; `is_reached` says whether others wait for its place. Answers whether
    /// the limit was reconsidered.
    pub(crate) fn felt(&mut self, pressure: f64, is_reached: bool, now: Instant) -> bool {
        let fresh = Window { began: now, calls: 0, pressure: 0.0, was_reached: false };
        let window = self.window.get_or_insert(fresh);
        window.calls += 1;
        // one call that waited for a lock must not speak for all
        window.pressure += pressure.min(4.0);
        window.was_reached |= is_reached;
        if window.calls < WINDOW.1 || now.saturating_duration_since(window.began) < WINDOW.0 {
            return false;
        }
        let mean = window.pressure / f64::from(window.calls);
        if mean > 1.0 {
            self.now *= (1.0 / mean).max(STEP);
        } else if window.was_reached {
            // the less pressure, the faster
            self.now += self.now.sqrt() * (1.0 - mean).max(0.1);
        }
        self.now = self.now.clamp(self.least, self.most);
        self.window = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_secs(10);

    /// Feeds `seconds` of calls that each take what `latency` says of the places in use.
    fn run(limit: &mut Limit, pace: &mut Pace, at: &mut Instant, seconds: u32, latency: impl Fn(f64) -> f64) {
        for _ in 0..seconds * 20 {
            *at += Duration::from_millis(50);
            for _ in 0..10 {
                let took = Duration::from_secs_f64(latency(limit.now));
                let pressure = pace.took(took, BUDGET, *at);
                limit.felt(pressure, true, *at);
            }
        }
    }

    #[test]
    fn the_limit_settles_where_calls_begin_to_wait_for_each_other() {
        let (mut limit, mut pace, mut at) = (Limit::up_to(1024), Pace::default(), Instant::now());
        // a system that does 400 calls a second however many run
        let saturated = |running: f64| (running / 400.0).max(0.005);
        run(&mut limit, &mut pace, &mut at, 1, |_| 0.005);
        run(&mut limit, &mut pace, &mut at, 20, saturated);
        assert!((160..=320).contains(&limit.places()), "{}", limit.places());
        // and rises again when it became ten times as fast
        run(&mut limit, &mut pace, &mut at, 20, |running| saturated(running) / 10.0);
        assert!(limit.places() > 400, "{}", limit.places());
    }

    #[test]
    fn a_slow_method_is_measured_by_itself() {
        let (mut limit, mut pace, mut at) = (Limit::up_to(1024), Pace::default(), Instant::now());
        run(&mut limit, &mut pace, &mut at, 10, |_| 2.0);
        assert!(limit.places() > 128, "two seconds are what it takes: {}", limit.places());
    }

    #[test]
    fn it_never_falls_to_nothing() {
        let (mut limit, mut pace, mut at) = (Limit::up_to(1024), Pace::default(), Instant::now());
        run(&mut limit, &mut pace, &mut at, 1, |_| 0.001);
        run(&mut limit, &mut pace, &mut at, 10, |_| 30.0);
        assert!(limit.places() >= 4);
        assert_eq!(Limit::up_to(2).places(), 2);
        assert_eq!(Limit::fixed(1000).places(), 1000);
    }

    #[test]
    fn a_stall_is_forgotten() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.usual(start), Duration::ZERO);
        pace.took(Duration::from_secs(8), BUDGET, start);
        assert_eq!(pace.usual(start), Duration::from_secs(8));
        assert!(pace.usual(start + Duration::from_secs(4)) <= Duration::from_secs(2));
    }

    #[test]
    fn calls_that_outlast_their_callers_lower_the_limit_however_slow_they_are_at_best() {
        let (mut limit, mut pace, mut at) = (Limit::up_to(1024), Pace::default(), Instant::now());
        let patience = Duration::from_secs(3);
        // a machine so slow that it does 20 calls a second, none of them in less than a second
        for _ in 0..600 {
            at += Duration::from_millis(50);
            let took = Duration::from_secs_f64((limit.now / 20.0).max(1.0));
            let pressure = pace.took(took, patience, at);
            limit.felt(pressure, true, at);
        }
        assert!((15..60).contains(&limit.places()), "{}", limit.places());
        assert!(pace.usual(at) < patience);
    }
}
