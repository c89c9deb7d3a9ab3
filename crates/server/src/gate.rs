//! Places for calls: how many of a class run at once, and who gets the next place.
//!
//! Calls that find no place wait in a queue. In calm times the first comes first; when the first has waited long the
//! last comes first, since its caller is the one that still waits for an answer. A call whose caller would have given up
//! before the answer is refused without being read.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::Status;

use crate::deadline::Deadline;
use crate::pace::{Limit, Pace};
use crate::reason;
use crate::status::{DOMAIN, retry_later};

/// When the first in the queue has waited for this long, the last is served first.
const LATE: Duration = Duration::from_millis(100);

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
    queue: VecDeque<Waiting>,
    connections: HashMap<u64, Load>,
}

/// What one connection has at a gate.
#[derive(Debug, Default)]
struct Load {
    running: usize,
    waiting: usize,
}

#[derive(Debug)]
struct Waiting {
    connection: Option<u64>,
    since: Instant,
    turn: oneshot::Sender<Result<Pass, Status>>,
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
        let state = State { limit, running: 0, queue: VecDeque::new(), connections: HashMap::new() };
        Arc::new(Self { class, most, share, state: Mutex::new(state) })
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
        let turn = {
            let mut state = self.state();
            if state.running < state.limit.places() && state.may_run(connection, self.share) {
                return Ok(state.admit(self, connection));
            }
            let (turn, result) = oneshot::channel();
            state.wait(Waiting { connection, since: Instant::now(), turn });
            if state.running + state.queue.len() > self.most {
                state.make_room();
            }
            result
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
        state.running -= 1;
        state.change(connection, |load| load.running -= 1);
        if let Some(pressure) = pressure {
            let is_reached = !state.queue.is_empty() || state.running + 1 >= state.limit.places();
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

impl State {
    fn may_run(&self, connection: Option<u64>, share: Option<usize>) -> bool {
        let (Some(connection), Some(share)) = (connection, share) else { return true };
        self.connections.get(&connection).is_none_or(|load| load.running < share)
    }

    fn admit(&mut self, gate: &Arc<Gate>, connection: Option<u64>) -> Pass {
        self.running += 1;
        self.change(connection, |load| load.running += 1);
        Pass { gate: Some(Arc::clone(gate)), connection, work: None }
    }

    fn wait(&mut self, waiting: Waiting) {
        self.change(waiting.connection, |load| load.waiting += 1);
        self.queue.push_back(waiting);
    }

    fn change(&mut self, connection: Option<u64>, change: impl FnOnce(&mut Load)) {
        let Some(connection) = connection else { return };
        let load = self.connections.entry(connection).or_default();
        change(load);
        if load.running == 0 && load.waiting == 0 {
            self.connections.remove(&connection);
        }
    }

    fn take(&mut self, index: usize) -> Option<Waiting> {
        let waiting = self.queue.remove(index)?;
        self.change(waiting.connection, |load| load.waiting -= 1);
        Some(waiting)
    }

    /// Gives the free places to those who wait.
    fn fill(&mut self, gate: &Arc<Gate>, now: Instant) {
        while self.running < self.limit.places() {
            while self.queue.front().is_some_and(|first| first.turn.is_closed()) {
                self.take(0);
            }
            let Some(next) = self.next(gate.share, now) else { return };
            let Some(waiting) = self.take(next) else { return };
            let pass = self.admit(gate, waiting.connection);
            // its caller may have left in this moment
            if let Err(Ok(mut unused)) = waiting.turn.send(Ok(pass)) {
                unused.gate = None;
                self.running -= 1;
                self.change(waiting.connection, |load| load.running -= 1);
            }
        }
    }

    /// Who is next: the first, or the last when the first is late; of a connection with few that run before one with
    /// many.
    fn next(&self, share: Option<usize>, now: Instant) -> Option<usize> {
        let is_late = |first: &Waiting| now.saturating_duration_since(first.since) > LATE;
        let can = |waiting: &Waiting| !waiting.turn.is_closed() && self.may_run(waiting.connection, share);
        let fair = Some((self.limit.places() / 4).max(1));
        let has_few = |waiting: &Waiting| can(waiting) && self.may_run(waiting.connection, fair);
        if self.queue.front().is_some_and(is_late) {
            self.queue.iter().rposition(has_few).or_else(|| self.queue.iter().rposition(can))
        } else {
            self.queue.iter().position(has_few).or_else(|| self.queue.iter().position(can))
        }
    }

    /// Refuses the oldest call of the connection that has most of them waiting.
    fn make_room(&mut self) {
        self.drop_abandoned();
        let waiting = |connection: Option<u64>| {
            connection.and_then(|number| self.connections.get(&number)).map_or(1, |load| load.waiting)
        };
        let most = self.queue.iter().map(|call| waiting(call.connection)).max();
        let oldest = self.queue.iter().position(|call| Some(waiting(call.connection)) == most);
        if let Some(refused) = oldest.and_then(|oldest| self.take(oldest)) {
            let _ = refused.turn.send(Err(crowded()));
        }
    }

    fn drop_abandoned(&mut self) {
        let mut index = 0;
        while index < self.queue.len() {
            if self.queue[index].turn.is_closed() {
                self.take(index);
            } else {
                index += 1;
            }
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

/// Refuses a call that cannot be answered by its deadline, before its message is read.
pub(crate) fn hopeful(pace: &SharedPace, deadline: Deadline) -> Result<(), Status> {
    let usual = lock(pace).usual(Instant::now());
    if deadline.left() < usual { Err(hopeless(usual)) } else { Ok(()) }
}

fn hopeless(usual: Duration) -> Status {
    let text = format!(
        "the deadline is too near: this method usually takes {} ms at the moment; the call had no effect, send it again later",
        usual.as_millis()
    );
    shed("DEADLINE", &text)
}

fn crowded() -> Status {
    shed("CALLS", "too many calls at once; the call had no effect, send it again later")
}

/// The refusal of a call for which there is no room.
pub(crate) fn shed(limit: &'static str, text: &str) -> Status {
    metrics::counter!("grpc_server_shed_total", "limit" => limit).increment(1);
    retry_later(reason::OVERLOADED, DOMAIN, pause(), text)
}

/// 200 to 500 ms, another one each time: those who are refused together must not come back together.
fn pause() -> Duration {
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    Duration::from_millis(200 + REFUSED.fetch_add(97, Ordering::Relaxed) % 300)
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
    async fn a_caller_that_left_takes_no_place() {
        let gate = narrow();
        let held = now(&gate, 1).await;
        let (gone, mut next) = (waiting(&gate, 2).await, waiting(&gate, 3).await);
        drop(gone);
        drop(held);
        assert!(poll!(&mut next).is_ready());
        assert_eq!(gate.state().running, 0);
        assert!(gate.state().connections.is_empty());
    }

    #[tokio::test]
    async fn a_call_that_cannot_be_answered_in_time_is_refused() {
        let pace = SharedPace::default();
        lock(&pace).took(Duration::from_secs(1), Duration::from_secs(10), Instant::now());
        let refusal = hopeful(&pace, Deadline::after(Duration::from_millis(300))).unwrap_err();
        assert_eq!(reason(&refusal).as_deref(), Some("OVERLOADED"));
        assert!(hopeful(&pace, Deadline::after(Duration::from_secs(3))).is_ok());
        let gate = narrow();
        let _held = now(&gate, 1).await;
        let late = gate.enter(&pace, Some(2), Deadline::after(Duration::from_millis(1_020))).await;
        assert_eq!(reason(&late.unwrap_err()).as_deref(), Some("OVERLOADED"), "it waited for a place");
    }
}
