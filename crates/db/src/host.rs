//! What this process knows about one database server: whether it can be reached, and since when its connections are
//! in doubt.
//!
//! All pools of the process that talk to one server share this: a firewall that lost one connection has usually lost
//! all of them, and a server that one caller cannot reach is not there for the others.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::error::{Error, Result};

/// While the server cannot be reached, one caller tries again after this; the others are refused meanwhile.
const AGAIN: Duration = Duration::from_millis(100);
/// How many connections are asked about at once.
const LOOKS: usize = 4;

/// One server, by `host:port` or the path of its socket.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    state: Mutex<State>,
    /// Turns at asking the server about a silent connection.
    pub(crate) looks: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    /// Connections that have not answered since are not to be trusted.
    doubted: Option<Instant>,
    /// It was reached before. Until then who opens the database says what is wrong, and the log need not.
    reached: bool,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    why: String,
    /// When somebody may try again.
    again: Instant,
    /// Somebody tries at the moment.
    trying: bool,
}

static HOSTS: LazyLock<Mutex<HashMap<String, Weak<Host>>>> = LazyLock::new(Mutex::default);

impl Host {
    /// The one host of this name in this process.
    pub(crate) fn named(name: &str) -> Arc<Self> {
        let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(name).and_then(Weak::upgrade) {
            return known;
        }
        hosts.retain(|_, host| host.strong_count() > 0);
        let host =
            Arc::new(Self { name: name.to_owned(), state: Mutex::default(), looks: Semaphore::new(LOOKS) });
        hosts.insert(name.to_owned(), Arc::downgrade(&host));
        host
    }

    /// A connection was lost: those that have not answered after `at` are not used again.
    pub(crate) fn doubt(&self, at: Instant) {
        let mut state = self.state();
        state.doubted = Some(state.doubted.map_or(at, |earlier| earlier.max(at)));
    }

    /// Whether a connection that answered last at `answered` may be used.
    pub(crate) fn trusts(&self, answered: Instant) -> bool {
        self.state().doubted.is_none_or(|doubted| answered > doubted)
    }

    /// Connects. While the last attempt failed, one caller tries at a time and all others are refused at once.
    pub(crate) async fn attempt<T>(&self, connect: impl Future<Output = Result<T>>) -> Result<T> {
        let mut trial = self.admit()?;
        let connected = connect.await;
        let failed = connected.as_ref().err().filter(|error| error.is_away()).map(ToString::to_string);
        trial.end(failed);
        connected
    }

    fn admit(&self) -> Result<Trial<'_>> {
        let mut state = self.state();
        if let Some(outage) = &mut state.outage {
            if outage.trying || Instant::now() < outage.again {
                metrics::counter!("entrepot_db_refused_connects_total").increment(1);
                return Err(Error::Unavailable(format!(
                    "PostgreSQL at {} cannot be reached ({})",
                    self.name, outage.why
                )));
            }
            outage.trying = true;
            return Ok(Trial { host: self, alone: true });
        }
        Ok(Trial { host: self, alone: false })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt to connect. Dropped without an outcome (its caller left), it makes room for the next.
struct Trial<'a> {
    host: &'a Host,
    alone: bool,
}

impl Trial<'_> {
    fn end(&mut self, failed: Option<String>) {
        self.alone = false;
        let mut state = self.host.state();
        let host = self.host.name.as_str();
        match (failed, state.outage.is_some()) {
            (Some(why), known) => {
                if !known && state.reached {
                    tracing::warn!(
                        host,
                        why,
                        "PostgreSQL cannot be reached; one caller at a time tries again"
                    );
                }
                state.outage = Some(Outage { why, again: Instant::now() + AGAIN, trying: false });
            }
            (None, true) => {
                if state.reached {
                    tracing::info!(host, "PostgreSQL can be reached again");
                }
                state.outage = None;
                state.reached = true;
            }
            (None, false) => state.reached = true,
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.alone
            && let Some(outage) = &mut self.host.state().outage
        {
            outage.trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fails(host: &Host) -> Error {
        host.attempt(async { Err::<(), _>(Error::lost("no route")) }).await.unwrap_err()
    }

    #[tokio::test]
    async fn while_a_server_is_away_one_caller_tries_and_the_others_are_refused() {
        let host = Host::named("one-caller:1");
        assert!(fails(&host).await.is_lost());
        let refused = host.attempt(std::future::pending::<Result<()>>()).await.unwrap_err();
        assert!(refused.to_string().contains("one-caller:1 cannot be reached"), "{refused}");
        host.state().outage.as_mut().unwrap().again = Instant::now();
        let mut trying = Box::pin(host.attempt(std::future::pending::<Result<()>>()));
        assert!(futures_util::poll!(&mut trying).is_pending());
        assert!(!fails(&host).await.is_lost(), "refused: somebody tries");
        drop(trying);
        assert!(fails(&host).await.is_lost(), "who tried has left, so the next one tries");
        host.state().outage.as_mut().unwrap().again = Instant::now();
        host.attempt(async { Ok(()) }).await.unwrap();
        assert!(fails(&host).await.is_lost(), "after a success everybody may connect");
    }

    #[tokio::test]
    async fn an_answer_that_refuses_is_no_outage() {
        let host = Host::named("refuses:1");
        for _ in 0..2 {
            let refused = host.attempt(async { Err::<(), _>(Error::misuse("wrong password")) }).await;
            assert_eq!(refused, Err(Error::misuse("wrong password")));
        }
    }

    #[test]
    fn one_doubt_holds_for_all_that_share_the_server() {
        let (host, same) = (Host::named("doubt:1"), Host::named("doubt:1"));
        let before = Instant::now();
        assert!(same.trusts(before));
        host.doubt(before);
        assert!(!same.trusts(before));
        assert!(same.trusts(before + Duration::from_millis(1)));
        assert!(Host::named("doubt:2").trusts(before));
    }
}
