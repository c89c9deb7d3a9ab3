//! Whether what is due may be ended now.
//!
//! What a clock ends by mistake cannot be undone: orders expire, claims on stock lapse. So due times are judged by
//! the database's time (`SQLite`: the machine's) beside a monotonic clock. When the two part, nothing is ended until the
//! clock is back. What came due before this process could compare them (it did not run yet, or they had parted) may be
//! due by mistake: when that is far more than usual, nothing is ended until an operator says `entrepot timers resume`.
//! What comes due later is due because the time has passed, however much it is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bus::lease;
use clock::{Clock, Follow};
use db::{Db, Engine, Tx};
use jiff::Timestamp;
use service::Service;
use service::shape::Failure;
use tokio_util::sync::CancellationToken;

/// The lease that an operator takes so that everything due is ended while it lasts.
const RESUME: &str = "timers resume";
/// How often a process compares its clock with the reference.
const COMPARE: Duration = Duration::from_secs(1);
/// How many times the busiest minute is more than usual.
const SURGE: usize = 10;
/// How many minutes are remembered.
const MINUTES: usize = 60;

/// Why what is due in a service waits, if it does: shared with the readiness page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paused(Arc<Mutex<Option<String>>>);

impl Paused {
    /// Why it waits.
    pub(crate) fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers whether that is new.
    fn set(&self, why: Option<String>) -> bool {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = now.is_some() != why.is_some();
        *now = why;
        is_new
    }
}

/// Watches over the timers of one service.
pub(crate) struct Guard {
    db: Db,
    clock: Clock,
    paused: Paused,
    usual: Usual,
    /// What was due by then may be due by mistake. None: the clock has leapt, the next look after it says.
    unproven: Option<Timestamp>,
    /// How many endings were due at the last look that admitted them.
    ending: usize,
    /// Whether this process has seen its machine's clock agree with the database's. From then on its own monotonic clock
    /// knows a leap.
    has_agreed: bool,
}

/// A process that begins while its machine's clock is further off the database's than this ends nothing: it cannot know
/// which of them has leapt.
const APART_S: u64 = 300;

/// How much ended in each of the last minutes, and what may always end at once; 0: anything.
#[derive(Debug)]
struct Usual {
    floor: usize,
    begun: Instant,
    minutes: VecDeque<(u64, usize)>,
}

impl Guard {
    pub(crate) fn new(db: Db, clock: Clock, paused: Paused, most_at_once: usize) -> Self {
        let usual = Usual { floor: most_at_once, begun: Instant::now(), minutes: VecDeque::new() };
        let unproven = Some(clock.business());
        Self { db, clock, paused, usual, unproven, ending: 0, has_agreed: false }
    }

    /// Something is due by business time. Answers whether it may be ended now.
    pub(crate) async fn admits(&mut self, service: &dyn Service) -> Result<bool, Failure> {
        let why = self.objection(service).await?;
        let admitted = why.is_none();
        self.show(service, why, "");
        Ok(admitted)
    }

    /// Nothing is ended here now, because of `why`.
    pub(crate) fn rest(&mut self, service: &dyn Service, why: &str) {
        self.unproven.get_or_insert(self.clock.business());
        self.show(service, None, why);
    }

    /// The clock has leapt by `ahead` microseconds.
    pub(crate) fn leapt(&mut self, service: &dyn Service, ahead: i64) {
        self.unproven = None;
        self.show(service, Some(leapt(self.db.engine(), ahead)), "");
    }

    /// Whether what is due waits.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.why().is_some()
    }

    /// So much was done; of that, what was due to end was ended.
    pub(crate) fn ended(&mut self, done: usize) {
        self.usual.add(self.usual.begun.elapsed().as_secs() / 60, done.min(self.ending));
    }

    fn show(&self, service: &dyn Service, why: Option<String>, goes_on: &str) {
        let name = service.name();
        metrics::gauge!("entrepot_timers_paused", "service" => name).set(f64::from(u8::from(why.is_some())));
        let text = why.clone();
        if self.paused.set(why) {
            if let Some(why) = text {
                tracing::error!(service = name, why, "timers are paused: nothing is ended");
            } else {
                tracing::info!(service = name, why = goes_on, "timers go on");
            }
        }
    }

    async fn objection(&mut self, service: &dyn Service) -> Result<Option<String>, Failure> {
        let mut tx = self.db.read().await?;
        let followed = follow(&mut tx, &self.clock).await?;
        if let Follow::Leapt(ahead) = followed {
            self.unproven = None;
            return Ok(Some(leapt(self.db.engine(), ahead)));
        }
        if !self.has_agreed && !self.clock.is_virtual() {
            let apart = apart(self.db.engine(), machine_ahead(&self.clock));
            if apart.is_some() && !is_resumed(&mut tx).await? {
                return Ok(apart);
            }
            self.has_agreed = true;
        }
        let now = self.clock.business();
        let unproven = *self.unproven.get_or_insert(now);
        let most = self.usual.most();
        if most == 0 || is_resumed(&mut tx).await? {
            self.ending = usize::MAX;
            return Ok(None);
        }
        drop(tx);
        self.ending = service.overdue(now, most.saturating_add(1)).await?;
        let due = if self.ending > most {
            service.overdue(unproven, most.saturating_add(1)).await?
        } else {
            self.ending
        };
        Ok((due > most).then(|| {
            format!(
                "more than {most} are due at once, ten times the usual; if the clock is right, end them with \
                 `entrepot timers resume`"
            )
        }))
    }
}

impl Usual {
    fn add(&mut self, minute: u64, count: usize) {
        match self.minutes.back_mut() {
            Some((last, ended)) if *last == minute => *ended += count,
            Some(_) | None => self.minutes.push_back((minute, count)),
        }
        while self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
    }

    /// The most that may end at once; 0: no limit.
    fn most(&self) -> usize {
        let busiest = self.minutes.iter().map(|(_, ended)| *ended).max().unwrap_or(0);
        if self.floor == 0 { 0 } else { self.floor.max(busiest.saturating_mul(SURGE)) }
    }
}

/// Lets the timers of a database end everything that is due, for `term`, and take a clock that leapt for right.
pub(crate) async fn resume(tx: &mut Tx, actor: &str, term: Duration) -> Result<(), bus::Error> {
    lease::take_over(tx, RESUME, actor, term).await
}

/// Compares the clock with the reference until `stop`, so that business time follows the database's in every process.
pub(crate) async fn compare(db: Db, clock: Clock, stop: CancellationToken) {
    let (mut had_leapt, mut was_off) = (false, false);
    while !stop.is_cancelled() {
        match once(&db, &clock).await {
            Ok(()) => {
                let ahead = clock.leap();
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                metrics::gauge!("entrepot_clock_leap_seconds").set(ahead.unwrap_or(0) as f64 / 1_000_000.0);
                match ahead {
                    Some(ahead) if !had_leapt => tracing::error!("{}", leapt(db.engine(), ahead)),
                    None if had_leapt => tracing::info!("the clock is right again"),
                    Some(_) | None => {}
                }
                had_leapt = ahead.is_some();
                let off = machine_off(db.engine(), machine_ahead(&clock));
                match &off {
                    Some(text) if !was_off => tracing::warn!("{text}"),
                    None if was_off => {
                        tracing::info!("the clock of this machine agrees with the database's again");
                    }
                    Some(_) | None => {}
                }
                was_off = off.is_some();
            }
            Err(error) => tracing::debug!(%error, "the clock could not be compared with the database's"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = clock.pause(COMPARE) => {}
        }
    }
}

/// Reads the reference once.
pub(crate) async fn once(db: &Db, clock: &Clock) -> Result<(), Failure> {
    let mut tx = db.read().await?;
    follow(&mut tx, clock).await?;
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!("entrepot_clock_machine_ahead_seconds").set(machine_ahead(clock) as f64 / 1_000_000.0);
    Ok(())
}

/// How far the clock of this machine is ahead of business time, in microseconds.
fn machine_ahead(clock: &Clock) -> i64 {
    clock.wall().as_microsecond().saturating_sub(clock.business().as_microsecond())
}

/// A machine's clock that is further off than this is reported.
const MACHINE_OFF_S: u64 = 5;

/// What operators read about a machine whose clock parted from the database's. Nothing goes by it, but people compare
/// its log with others'. With `SQLite` it is the reference itself.
fn machine_off(engine: Engine, ahead: i64) -> Option<String> {
    let seconds = ahead.unsigned_abs() / 1_000_000;
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    (engine.has_own_clock() && seconds >= MACHINE_OFF_S).then(|| {
        format!(
            "the clock of this machine is {seconds} s {direction} the database's; due times go by the database's, but the \
             times in this log do not: set the clock of this machine right (chronyc tracking, timedatectl)"
        )
    })
}

/// Why a process that has just begun ends nothing, if it does; `ahead` is by how much its machine is, in microseconds.
fn apart(engine: Engine, ahead: i64) -> Option<String> {
    let seconds = ahead.unsigned_abs() / 1_000_000;
    (engine.has_own_clock() && seconds >= APART_S).then(|| {
        format!(
            "when this process began, the clocks of its machine and of the database were {seconds} s apart, and one of \
             them may have leapt; nothing expires until they agree; if the database's is right, say so with `entrepot \
             timers resume`, and set the machine's"
        )
    })
}

async fn follow(tx: &mut Tx, clock: &Clock) -> Result<Follow, Failure> {
    let asked = Instant::now();
    let reference = if tx.engine().has_own_clock() {
        let now = tx.now().await?;
        Timestamp::from_microsecond(now)?
    } else {
        // one process and one machine: its clock is the reference
        clock.wall()
    };
    match clock.follow(reference, asked.elapsed()) {
        Follow::Leapt(_) if is_resumed(tx).await? => {
            clock.adopt();
            Ok(Follow::Followed)
        }
        followed => Ok(followed),
    }
}

async fn is_resumed(tx: &mut Tx) -> Result<bool, Failure> {
    Ok(lease::is_held(tx, RESUME).await?)
}

/// What operators read about a leap, in microseconds.
pub(crate) fn leapt(engine: Engine, ahead: i64) -> String {
    let whose =
        if engine.has_own_clock() { "the clock of the database" } else { "the clock of this machine" };
    let (seconds, direction) = (ahead.unsigned_abs() / 1_000_000, if ahead > 0 { "forward" } else { "back" });
    format!(
        "{whose} leapt {direction} by {seconds} s; nothing expires until it is back; if it is right now, say so with \
         `entrepot timers resume`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_whose_clock_parts_from_the_databases_is_named_with_the_way_out() {
        assert_eq!(machine_off(Engine::Postgres, 4_900_000), None);
        assert_eq!(machine_off(Engine::Sqlite, 3_600_000_000), None, "it is the reference");
        let ahead = machine_off(Engine::Postgres, 75_000_000).unwrap();
        assert!(ahead.contains("75 s ahead of the database's") && ahead.contains("chronyc"), "{ahead}");
        assert!(machine_off(Engine::Postgres, -75_000_000).unwrap().contains("75 s behind"));
    }

    #[test]
    fn a_process_that_begins_while_the_clocks_are_far_apart_ends_nothing() {
        assert_eq!(apart(Engine::Postgres, 299_000_000), None);
        assert_eq!(apart(Engine::Sqlite, 3_600_000_000), None, "there is one clock");
        for ahead in [3_600_000_000, -3_600_000_000] {
            let why = apart(Engine::Postgres, ahead).unwrap();
            assert!(why.contains("3600 s apart") && why.contains("timers resume"), "{why}");
        }
    }

    #[test]
    fn ten_times_the_busiest_minute_may_end_at_once_and_never_less_than_the_setting() {
        let mut usual = Usual { floor: 100, begun: Instant::now(), minutes: VecDeque::new() };
        assert_eq!(usual.most(), 100);
        usual.add(0, 6);
        usual.add(0, 6);
        assert_eq!(usual.most(), 120);
        for minute in 1..=60 {
            usual.add(minute, 1);
        }
        assert_eq!(usual.most(), 100, "what was usual an hour ago is forgotten");
        usual.floor = 0;
        assert_eq!(usual.most(), 0);
    }
}
