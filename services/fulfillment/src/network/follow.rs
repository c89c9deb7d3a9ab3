//! Keeps what this process knows of nodes and capacity up to date, by reading what other processes changed.

use std::time::Duration;

use domain::id::NodeId;
use domain::network::capacity;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::Fulfillment;
use crate::backoff::Failures;
use crate::error::Error;
use crate::store;
use crate::store::network::Mark;

/// Rows read at once.
const PAGE: i64 = 1_000;
/// How far back a look for changes goes, for transactions that committed late and clocks that differ.
const OVERLAP: SignedDuration = SignedDuration::from_secs(10);

/// How often what is over is forgotten.
const PRUNE_EVERY: Duration = Duration::from_mins(10);

/// Up to which instant the changes of others were read, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    nodes: i64,
    silence: i64,
    slots: i64,
}

impl Fulfillment {
    /// Reads the whole network and the capacity ahead: at the start.
    pub(crate) async fn load_network(&self) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let mut tx = self.db.read().await?;
            let page = store::network::page(&mut tx, &after, 500).await?;
            tx.commit().await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.node.node_id);
            self.learn_nodes(&page)?;
        }
        self.refresh(&mut Read::default()).await
    }

    /// Follows what other processes change of nodes and capacity, and forgets what is over, until `stop`.
    pub async fn follow_network(&self, stop: CancellationToken) {
        let mut read = Read::default();
        let mut pruned = self.clock.wall();
        let mut failures = Failures::default();
        let every = Duration::from_millis(self.config.refresh_ms.max(10));
        let mut wait = every;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.pause(wait) => {}
            }
            wait = every;
            match self.refresh(&mut read).await {
                Ok(()) => failures = Failures::default(),
                Err(error) => {
                    wait = wait.max(failures.another());
                    tracing::warn!(%error, errors = failures.0, "nodes and capacity cannot be read, trying again");
                }
            }
            if self.clock.wall().duration_since(pruned).unsigned_abs() >= PRUNE_EVERY {
                pruned = self.clock.wall();
                if let Err(error) = self.prune(self.clock.business()).await {
                    tracing::warn!(%error, "what is over cannot be forgotten, trying again later");
                }
            }
        }
    }

    async fn refresh(&self, read: &mut Read) -> Result<(), Error> {
        let back = i64::try_from(OVERLAP.as_micros()).unwrap_or(0);
        let mut mark = Mark { updated_at: read.nodes.saturating_sub(back), node: String::new() };
        loop {
            let mut tx = self.db.read().await?;
            let changed = store::network::changed_after(&mut tx, &mark, PAGE).await?;
            let news: Vec<String> = changed
                .iter()
                .filter(|(mark, version)| self.network.is_news(&mark.node, *version))
                .map(|(mark, _)| mark.node.clone())
                .collect();
            let stored = store::network::many(&mut tx, &news).await?;
            tx.commit().await?;
            self.learn_nodes(&stored)?;
            let Some((last, _)) = changed.last() else { break };
            mark = last.clone();
            read.nodes = read.nodes.max(mark.updated_at);
        }
        self.refresh_silence(read, back).await?;
        let mut mark = (read.slots.saturating_sub(back), store::capacity::SlotKey::default());
        loop {
            let mut tx = self.db.read().await?;
            let changed = store::capacity::changed_after(&mut tx, &mark, PAGE).await?;
            tx.commit().await?;
            let Some((last, _)) = changed.last() else { return Ok(()) };
            mark = last.clone();
            read.slots = read.slots.max(mark.0);
            self.note_load(changed.into_iter().map(|((_, slot), used)| (slot, used)));
        }
    }

    /// Reads which nodes let offers run out, and which have answered.
    async fn refresh_silence(&self, read: &mut Read, back: i64) -> Result<(), Error> {
        let mut mark = Mark { updated_at: read.silence.saturating_sub(back), node: String::new() };
        loop {
            let mut tx = self.db.read().await?;
            let changed = store::silence::changed_after(&mut tx, &mark, PAGE).await?;
            tx.commit().await?;
            let Some((last, _)) = changed.last() else { break };
            mark = last.clone();
            read.silence = read.silence.max(mark.updated_at);
            let news = changed.into_iter().map(|(mark, silence)| Ok((node_of(&mark)?, silence)));
            self.network.silence.note(news.collect::<Result<Vec<_>, Error>>()?);
        }
        self.show_silence();
        Ok(())
    }

    /// Reads a node that another process changed.
    pub(crate) async fn relearn_node(&self, node: &NodeId) -> Result<(), Error> {
        let mut tx = self.db.read().await?;
        let stored = store::network::get(&mut tx, node.as_str()).await?;
        tx.commit().await?;
        self.learn_nodes(stored.as_slice())
    }

    /// Reads what the slots of a node have taken: after one was fuller than the view knew.
    pub(crate) async fn refresh_node(&self, node: &NodeId) -> Result<(), Error> {
        let from = self.clock.business() - capacity::LONGEST_SLOT;
        let mut tx = self.db.read().await?;
        let slots = store::capacity::of_node(&mut tx, node.as_str(), from.as_microsecond()).await?;
        tx.commit().await?;
        self.note_load(slots);
        Ok(())
    }
}

fn node_of(mark: &Mark) -> Result<NodeId, Error> {
    NodeId::new(mark.node.as_str())
        .map_err(|_| Error::corrupt("a silent node has a malformed code".to_owned()))
}
