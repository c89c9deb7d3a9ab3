//! Places for calls: how many of a class run at once, and who gets the next place.
//!
//! Calls that find no place wait in a queue. In calm times the first comes first; when the first has waited long the
//! last comes first, since its caller is the one that still waits for an answer. A call whose caller would have given up
//! before the answer is refused without being read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::Status;

use crate::deadline::Deadline;
use crate::pace::{Limit, Pace};
use crate::shed::{crowded, hopeless};

/// When the first in the queue has waited for this long, the last is served first.
const LATE: Duration = Duration::from_millis(100);

/// A queue of no more calls than this is never crowded.
const SHORT: usize = 32;

/// The places of one class of calls.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Which calls, in metrics.
    class: &'static str,
    /// Calls that run and wait together.
    most: usize,
    /// Calls of one connection that run at once.
    share: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: Limit,
    running: usize,
    waiting: usize,
    /// The number of the next call that waits.
    next_number: u64,
    /// By connection; calls without one, of this process, are together.
    loads: HashMap<Option<u64>, Load>,
}

/// What one connection has at a gate.
#[derive(Debug, Default)]
struct Load {
    running: usize,
    queue: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Calls are numbered as they come.
    number: u64,
    since: Instant,
    turn: oneshot::Sender<Result<Pass, Status>>,
}

/// A call in the queue; its caller may leave at any moment.
struct Queued<'a> {
    gate: &'a Gate,
    connection: Option<u64>,
    number: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.gate.state().forget(self.connection, self.number);
    }
}

/// The service time of a method, shared by its calls.
pub(crate) type SharedPace = Mutex<Pace>;

/// A place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Option<Arc<Gate>>,
    connection: Option<u64>,
    /// Set when the handler begins.
    work: Option<Work>,
}

/// What a place is used for.
#[derive(Debug)]
struct Work {
    pace: Arc<SharedPace>,
    budget: Duration,
    began: Instant,
}

impl Gate {
    /// Places whose number follows the latency of the calls, up to `most`; one connection gets at most `share`.
    pub(crate) fn adaptive(class: &'static str, most: usize, share: Option<usize>) -> Arc<Self> {
        Self::new(class, most, share, Limit::up_to(most))
    }

    /// A fixed number of places.
    pub(crate) fn fixed(class: &'static str, most: usize) -> Arc<Self> {
        Self::new(class, most, None, Limit::fixed(most))
    }

    fn new(class: &'static str, most: usize, share: Option<usize>, limit: Limit) -> Arc<Self> {
        let state = State { limit, running: 0, waiting: 0, next_number: 0, loads: HashMap::new() };
        Arc::new(Self { class, most, share, state: Mutex::new(state) })
    }

    /// Whether a call of `connection` would only take the place of another one in the queue: more calls wait than run,
    /// the first of them for long, and its connection has no fewer of them than others. Then the call is refused before it is read,
    /// which costs the least.
    pub(crate) fn is_crowded_by(&self, connection: Option<u64>) -> bool {
        let state = self.state();
        let places = state.limit.places();
        if state.waiting < places.max(SHORT) || state.running < places {
            return false;
        }
        let own = state.loads.get(&connection).map_or(0, |load| load.queue.len());
        let queues = state.loads.values().filter(|load| !load.queue.is_empty()).count();
        let has_many = own > 0 && own * queues >= state.waiting;
        has_many && state.is_late(self.share, Instant::now())
    }

    /// A place for a call of `connection`, as soon as there is one.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        pace: &SharedPace,
        connection: Option<u64>,
        deadline: Deadline,
    ) -> Result<Pass, Status> {
        let usual = lock(pace).usual(Instant::now());
        let begin_by = deadline.at().checked_sub(usual).unwrap_or_else(Instant::now);
        let (turn, _queued) = {
            let mut state = self.state();
            if state.running < state.limit.places() && state.may_run(connection, self.share) {
                return Ok(state.admit(self, connection));
            }
            let (turn, result) = oneshot::channel();
            let number = state.wait(connection, turn);
            if state.running + state.waiting > self.most {
                state.make_room();
            }
            (result, Queued { gate: self, connection, number })
        };
        tokio::select! {
            biased;
            turn = turn => turn.unwrap_or_else(|_| Err(crowded())),
            () = tokio::time::sleep_until(begin_by) => Err(hopeless(usual)),
        }
    }

    fn leave(self: &Arc<Self>, connection: Option<u64>, work: Option<&Work>) {
        let now = Instant::now();
        let pressure = work
            .map(|work| lock(&work.pace).took(now.saturating_duration_since(work.began), work.budget, now));
        let mut state = self.state();
        state.ran(connection);
        if let Some(pressure) = pressure {
            let is_reached = state.waiting > 0 || state.running + 1 >= state.limit.places();
            if state.limit.felt(pressure, is_reached, now) {
                #[expect(clippy::cast_precision_loss, reason = "places are few")]
                metrics::gauge!("grpc_server_places", "class" => self.class).set(state.limit.places() as f64);
            }
        }
        state.fill(self, now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Load {
    /// Whether another call of it may run; those of this process, without a connection, have no share.
    fn may_run(&self, connection: Option<u64>, share: Option<usize>) -> bool {
        connection.is_none() || share.is_none_or(|share| self.running < share)
    }
}

impl State {
    fn may_run(&self, connection: Option<u64>, share: Option<usize>) -> bool {
        self.loads.get(&connection).is_none_or(|load| load.may_run(connection, share))
    }

    fn admit(&mut self, gate: &Arc<Gate>, connection: Option<u64>) -> Pass {
        self.running += 1;
        self.loads.entry(connection).or_default().running += 1;
        Pass { gate: Some(Arc::clone(gate)), connection, work: None }
    }

    /// A call that ran has ended.
    fn ran(&mut self, connection: Option<u64>) {
        self.running -= 1;
        if let Some(load) = self.loads.get_mut(&connection) {
            load.running -= 1;
        }
        self.drop_idle(connection);
    }

    /// Forgets a connection that has no call here.
    fn drop_idle(&mut self, connection: Option<u64>) {
        if self.loads.get(&connection).is_some_and(|load| load.running == 0 && load.queue.is_empty()) {
            self.loads.remove(&connection);
        }
    }

    fn wait(&mut self, connection: Option<u64>, turn: oneshot::Sender<Result<Pass, Status>>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting += 1;
        let load = self.loads.entry(connection).or_default();
        load.queue.push_back(Waiting { number, since: Instant::now(), turn });
        number
    }

    /// Takes a call out of the queue.
    fn take(&mut self, connection: Option<u64>, number: u64) -> Option<Waiting> {
        let load = self.loads.get_mut(&connection)?;
        let index = load.queue.binary_search_by_key(&number, |call| call.number).ok()?;
        let taken = load.queue.remove(index)?;
        self.waiting -= 1;
        Some(taken)
    }

    /// The caller of a call in the queue left, if it is still there.
    fn forget(&mut self, connection: Option<u64>, number: u64) {
        self.take(connection, number);
        self.drop_idle(connection);
    }

    /// Gives the free places to those who wait.
    fn fill(&mut self, gate: &Arc<Gate>, now: Instant) {
        while self.waiting > 0 && self.running < self.limit.places() {
            let Some((connection, number)) = self.next(gate.share, now) else { return };
            let Some(waiting) = self.take(connection, number) else { return };
            let pass = self.admit(gate, connection);
            // its caller may have left in this moment
            if let Err(Ok(mut unused)) = waiting.turn.send(Ok(pass)) {
                unused.gate = None;
                self.ran(connection);
            }
        }
    }

    /// Whether the first in the queue has waited for long; not one that waits for others of its own connection.
    fn is_late(&self, share: Option<usize>, now: Instant) -> bool {
        let may_run = self.loads.iter().filter(|(connection, load)| load.may_run(**connection, share));
        let first = may_run.filter_map(|(_, load)| load.queue.front()).min_by_key(|call| call.number);
        first.is_some_and(|first| now.saturating_duration_since(first.since) > LATE)
    }

    fn most_waiting(&self) -> usize {
        self.loads.values().map(|load| load.queue.len()).max().unwrap_or_default()
    }

    /// Who is next: the first, or the last when the first is late; of a connection with few that run before one with
    /// many.
    fn next(&self, share: Option<usize>, now: Instant) -> Option<(Option<u64>, u64)> {
        let is_late = self.is_late(share, now);
        let fair = Some((self.limit.places() / 4).max(1));
        let candidates = self.loads.iter().filter_map(|(connection, load)| {
            if !load.may_run(*connection, share) {
                return None;
            }
            let call = if is_late { load.queue.back() } else { load.queue.front() }?;
            let order = if is_late { u64::MAX - call.number } else { call.number };
            let has_many = !load.may_run(*connection, fair);
            Some(((has_many, order), (*connection, call.number)))
        });
        candidates.min_by_key(|(order, _)| *order).map(|(_, call)| call)
    }

    /// Refuses the oldest call of the connection that has most of them waiting.
    fn make_room(&mut self) {
        let most = self.most_waiting();
        let crowding = self.loads.iter().filter(|(_, load)| load.queue.len() == most);
        let oldest =
            crowding.filter_map(|(connection, load)| Some((load.queue.front()?.number, *connection))).min();
        if let Some(refused) = oldest.and_then(|(number, connection)| self.take(connection, number)) {
            let _ = refused.turn.send(Err(crowded()));
        }
    }
}

impl Pass {
    /// The handler begins; its time counts for `pace`. Its caller waits until `deadline`.
    pub(crate) fn begin(&mut self, pace: Arc<SharedPace>, deadline: Deadline) {
        self.work = Some(Work { pace, budget: deadline.budget(), began: Instant::now() });
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.leave(self.connection, self.work.as_ref());
        }
    }
}

/// Refuses a call that cannot be answered by its deadline, before its message is read. Now and then one is let in all the
/// same: calls that differ much share a method, and the short ones must be able to show that they are.
pub(crate) fn hopeful(pace: &SharedPace, deadline: Deadline) -> Result<(), Status> {
    let mut pace = lock(pace);
    let usual = pace.usual(Instant::now());
    if deadline.left() >= usual || pace.is_probe() { Ok(()) } else { Err(hopeless(usual)) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;
    use crate::status::reason;

    fn far() -> Deadline {
        Deadline::after(Duration::from_mins(10))
    }

    async fn now(gate: &Arc<Gate>, connection: u64) -> Pass {
        let pace = SharedPace::default();
        gate.enter(&pace, Some(connection), far()).await.unwrap()
    }

    type Entering = std::pin::Pin<Box<dyn Future<Output = Result<Pass, Status>>>>;

    async fn waiting(gate: &Arc<Gate>, connection: u64) -> Entering {
        let gate = Arc::clone(gate);
        let mut entering: Entering = Box::pin(async move {
            let pace = SharedPace::default();
            gate.enter(&pace, Some(connection), far()).await
        });
        assert!(poll!(&mut entering).is_pending());
        entering
    }

    #[tokio::test]
    async fn a_connection_gets_its_share_and_no_more() {
        let gate = Gate::adaptive("test", 100, Some(2));
        let (first, _second) = (now(&gate, 1).await, now(&gate, 1).await);
        let mut third = waiting(&gate, 1).await;
        let _other = now(&gate, 2).await;
        assert!(poll!(&mut third).is_pending());
        drop(first);
        assert!(poll!(&mut third).is_ready());
        assert_eq!(gate.state().running, 3 - 1);
    }

    /// A gate of one place at which others may wait.
    fn narrow() -> Arc<Gate> {
        Gate::new("test", 10, None, Limit::fixed(1))
    }

    #[tokio::test]
    async fn the_first_comes_first_until_it_is_late() {
        let gate = narrow();
        let held = now(&gate, 1).await;
        let (mut first, mut second) = (waiting(&gate, 2).await, waiting(&gate, 3).await);
        drop(held);
        let std::task::Poll::Ready(Ok(held)) = poll!(&mut first) else { panic!("the first is next") };
        let mut third = waiting(&gate, 4).await;
        tokio::time::sleep_until(Instant::now() + LATE * 2).await;
        drop(held);
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut third).is_ready(), "the last is next");
    }

    #[tokio::test]
    async fn whoever_has_most_waiting_makes_room() {
        let gate = Gate::new("test", 4, None, Limit::fixed(1));
        let _held = now(&gate, 1).await;
        let mut few = waiting(&gate, 2).await;
        let mut many: Vec<_> =
            vec![waiting(&gate, 3).await, waiting(&gate, 3).await, waiting(&gate, 3).await];
        let std::task::Poll::Ready(Err(refusal)) = poll!(&mut many[0]) else { panic!("it has most") };
        assert_eq!(reason(&refusal).as_deref(), Some("OVERLOADED"));
        assert!(poll!(&mut few).is_pending());
        assert!(poll!(&mut many[1]).is_pending());
    }

    #[tokio::test]
    async fn in_a_lasting_crowd_a_connection_with_many_is_refused_unread_and_one_with_few_is_not() {
        let gate = Gate::new("test", 1000, None, Limit::fixed(1));
        let _held = now(&gate, 1).await;
        let mut crowd = Vec::new();
        for _ in 0..SHORT {
            crowd.push(waiting(&gate, 2).await);
        }
        assert!(!gate.is_crowded_by(Some(2)), "a burst is no crowd");
        tokio::time::sleep_until(Instant::now() + LATE * 2).await;
        assert!(gate.is_crowded_by(Some(2)));
        assert!(!gate.is_crowded_by(Some(3)));
        let _one = waiting(&gate, 4).await;
        assert!(!gate.is_crowded_by(Some(4)), "others crowd it out, it crowds nobody");
        crowd.truncate(SHORT / 2);
        assert!(!gate.is_crowded_by(Some(2)), "there is room again");
    }

    #[tokio::test]
    async fn calls_that_wait_for_their_own_connection_make_nobody_late() {
        let gate = Gate::new("test", 100, Some(1), Limit::fixed(2));
        let (_own, other) = (now(&gate, 1).await, now(&gate, 2).await);
        let _more = (waiting(&gate, 1).await, waiting(&gate, 1).await);
        tokio::time::sleep_until(Instant::now() + LATE * 2).await;
        let (mut first, mut second) = (waiting(&gate, 3).await, waiting(&gate, 4).await);
        drop(other);
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut first).is_ready(), "the first comes first");
    }

    #[tokio::test]
    async fn a_caller_that_left_takes_no_place() {
        let gate = narrow();
        let held = now(&gate, 1).await;
        let (gone, mut next) = (waiting(&gate, 2).await, waiting(&gate, 3).await);
        drop(gone);
        drop(held);
        assert!(poll!(&mut next).is_ready());
        assert_eq!(gate.state().running, 0);
        assert!(gate.state().loads.is_empty());
    }

    #[tokio::test]
    async fn a_call_that_cannot_be_answered_in_time_is_refused() {
        let pace = SharedPace::default();
        lock(&pace).took(Duration::from_secs(1), Duration::from_secs(10), Instant::now());
        let refusal = hopeful(&pace, Deadline::after(Duration::from_millis(300))).unwrap_err();
        assert_eq!(reason(&refusal).as_deref(), Some("OVERLOADED"));
        assert!(hopeful(&pace, Deadline::after(Duration::from_secs(3))).is_ok());
        let soon = || hopeful(&pace, Deadline::after(Duration::from_millis(300)));
        assert_eq!((0..32).filter(|_| soon().is_ok()).count(), 2, "some are let in to find out");
        let gate = narrow();
        let _held = now(&gate, 1).await;
        let late = gate.enter(&pace, Some(2), Deadline::after(Duration::from_millis(1_020))).await;
        assert_eq!(reason(&late.unwrap_err()).as_deref(), Some("OVERLOADED"), "it waited for a place");
    }
}
