//! The book of a process, which follows the tables of its service.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bus::Delivered;
use clock::Clock;
use db::{Db, Tx};
use domain::id::{NodeId, Uuid};
use domain::policy::{Book, Group, NodeFacts, Version};
use domain::time::Timestamp;
use jiff::SignedDuration;
use service::Fault;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::apply::{apply, is_of};
use crate::policies::over_at;
use crate::{groups, nodes, policies, wire};

/// Rows read at once.
const PAGE: i64 = 1_000;
/// A page with fewer rows is the last one.
const FULL_PAGE: usize = 1_000;
/// Bodies of groups read at once: each may name thousands of nodes.
const GROUPS: usize = 50;
/// How far back a look for changes goes, in microseconds: for transactions that committed late and clocks that differ.
const OVERLAP_US: i64 = 10_000_000;
/// How long versions stay in the book after their end.
const KEEP_OVER: SignedDuration = SignedDuration::from_hours(1);
/// How long to wait at most before what failed is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// What a process knows of policies. Cheap to clone; all clones have the same book.
#[derive(Clone, Default)]
pub struct View(Arc<Inner>);

#[derive(Default)]
struct Inner {
    book: RwLock<Arc<Book>>,
    source: Option<Source>,
    wake: Notify,
    /// Events were applied, and their transaction may not have committed yet.
    has_news: AtomicBool,
}

/// The tables that a view follows.
struct Source {
    db: Db,
    clock: Clock,
    known: Mutex<Known>,
}

/// What was read so far: rows with their sequences, and up to which instant.
#[derive(Default)]
struct Known {
    versions: HashMap<Uuid, (i64, Arc<Version>)>,
    groups: HashMap<String, (i64, Option<Group>)>,
    nodes: HashMap<NodeId, (i64, NodeFacts)>,
    read_versions: i64,
    read_groups: i64,
    read_nodes: i64,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("versions", &self.book().versions().len()).finish_non_exhaustive()
    }
}

impl View {
    /// A view of the tables of a service, read as they are now.
    pub async fn load(db: Db, clock: Clock) -> Result<Self, Fault> {
        let source = Some(Source { db, clock, known: Mutex::default() });
        let view = Self(Arc::new(Inner { source, ..Inner::default() }));
        view.refresh().await?;
        Ok(view)
    }

    /// A view of a book that never changes: for those who have no tables.
    pub fn fixed(book: Book) -> Self {
        Self(Arc::new(Inner { book: RwLock::new(Arc::new(book)), ..Inner::default() }))
    }

    /// The book as it is now. Who asks several things of one moment keeps it.
    pub fn book(&self) -> Arc<Book> {
        Arc::clone(&self.0.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what changed since the last time.
    pub async fn refresh(&self) -> Result<(), Fault> {
        let Some(source) = &self.0.source else { return Ok(()) };
        // Held over the reading, so that two of them do not replace a newer book by an older one.
        let mut known = source.known.lock().await;
        let over = source.clock.business() - KEEP_OVER;
        let mut tx = source.db.read().await?;
        // Groups and nodes first: a version is never in the book without the group that it names.
        let mut is_news = known.read_nodes(&mut tx).await?;
        is_news |= known.read_groups(&mut tx).await?;
        is_news |= known.read_versions(&mut tx, over).await?;
        tx.commit().await?;
        if is_news {
            let book = Arc::new(known.book(over));
            *self.0.book.write().unwrap_or_else(PoisonError::into_inner) = book;
        }
        Ok(())
    }

    /// On a virtual clock nothing runs by itself: reads what changed, so that what is due does not run ahead of what was
    /// put in force.
    pub async fn keep_in_step(&self) -> Result<(), Fault> {
        match &self.0.source {
            Some(source) if source.clock.is_virtual() => self.refresh().await,
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps what an event says in the tables. Answers whether it is about policies, groups or nodes; others change nothing.
    pub async fn hear(&self, tx: &mut Tx, event: &Delivered) -> Result<bool, Fault> {
        let is_ours = is_of(event);
        if is_ours && apply(tx, event).await? {
            self.0.has_news.store(true, Ordering::Release);
        }
        Ok(is_ours)
    }

    /// A consumer has committed: what it heard is read at once.
    pub fn committed(&self) {
        if self.0.has_news.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Something was committed: the task of [`View::follow`] reads it at once.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Follows the tables until `stop`: every so often, and when it is woken.
    pub async fn follow(&self, every: Duration, stop: CancellationToken) {
        let Some(source) = &self.0.source else { return };
        let every = every.max(Duration::from_millis(10));
        let mut wait = every;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = source.clock.pause(wait) => {}
                () = self.0.wake.notified() => {}
            }
            match self.refresh().await {
                Ok(()) => wait = every,
                Err(error) => {
                    wait = (wait * 2).clamp(every, LONGEST_WAIT.max(every));
                    tracing::warn!(%error, "policies cannot be read, retrying");
                    // Woken or not, what fails is not tried at once again.
                    source.clock.pause(every).await;
                }
            }
        }
    }
}

impl Known {
    async fn read_versions(&mut self, tx: &mut Tx, over: Timestamp) -> Result<bool, Fault> {
        let mut is_news = false;
        let mut mark = (self.read_versions.saturating_sub(OVERLAP_US), Uuid::nil());
        loop {
            let changed = policies::changed_after(tx, mark, over, PAGE).await?;
            let Some((last, _)) = changed.last() else { return Ok(is_news) };
            mark = *last;
            let is_new = |((_, id), sequence): &&(policies::Mark, i64)| {
                self.versions.get(id).is_none_or(|(known, _)| known < sequence)
            };
            let news: Vec<Uuid> = changed.iter().filter(is_new).map(|((_, id), _)| *id).collect();
            for stored in policies::many(tx, news).await? {
                match stored.version() {
                    Ok(version) => {
                        self.versions.insert(version.id, (stored.sequence, Arc::new(version)));
                        is_news = true;
                    }
                    // Written by a newer program: the versions that this one can read still hold.
                    Err(error) => {
                        tracing::warn!(policy = stored.policy.policy_id, %error, "a policy is skipped");
                    }
                }
            }
            self.read_versions = self.read_versions.max(mark.0);
            if changed.len() < FULL_PAGE {
                return Ok(is_news);
            }
        }
    }

    async fn read_groups(&mut self, tx: &mut Tx) -> Result<bool, Fault> {
        let mut is_news = false;
        let mut mark = (self.read_groups.saturating_sub(OVERLAP_US), String::new());
        loop {
            let changed = groups::changed_after(tx, &mark, PAGE).await?;
            let Some((last, _)) = changed.last() else { return Ok(is_news) };
            mark = last.clone();
            let is_new = |((_, code), sequence): &&(groups::Mark, i64)| {
                self.groups.get(code).is_none_or(|(known, _)| known < sequence)
            };
            let news: Vec<&str> = changed.iter().filter(is_new).map(|((_, code), _)| code.as_str()).collect();
            for codes in news.chunks(GROUPS) {
                for stored in groups::many(tx, codes.iter().copied()).await? {
                    let group = stored.group.as_ref().map(wire::group).transpose()?;
                    self.groups.insert(stored.code, (stored.sequence, group));
                    is_news = true;
                }
            }
            self.read_groups = self.read_groups.max(mark.0);
            if changed.len() < FULL_PAGE {
                return Ok(is_news);
            }
        }
    }

    async fn read_nodes(&mut self, tx: &mut Tx) -> Result<bool, Fault> {
        let mut is_news = false;
        let mut mark = (self.read_nodes.saturating_sub(OVERLAP_US), String::new());
        loop {
            let changed = nodes::changed_after(tx, &mark, PAGE).await?;
            let Some((last, _)) = changed.last() else { return Ok(is_news) };
            mark = last.clone();
            let is_new = |((_, node), sequence): &&(nodes::Mark, i64)| {
                let node = NodeId::new(node.as_str()).ok();
                node.and_then(|node| self.nodes.get(&node)).is_none_or(|(known, _)| known < sequence)
            };
            let news: Vec<&str> = changed.iter().filter(is_new).map(|((_, node), _)| node.as_str()).collect();
            for stored in nodes::many(tx, news).await? {
                self.nodes.insert(stored.node, (stored.sequence, stored.facts));
                is_news = true;
            }
            self.read_nodes = self.read_nodes.max(mark.0);
            if changed.len() < FULL_PAGE {
                return Ok(is_news);
            }
        }
    }

    /// A book of what is known, without the versions that are over since long.
    fn book(&mut self, over: Timestamp) -> Book {
        self.versions.retain(|_, (_, version)| over_at(version).is_none_or(|at| at > over));
        Book::new(
            self.versions.values().map(|(_, version)| Arc::clone(version)),
            self.groups.values().filter_map(|(_, group)| group.clone()),
            self.nodes.iter().map(|(node, (_, facts))| (node.clone(), facts.clone())),
        )
    }
}
