//! A host with a kind of its own (chores) that also shows work of another service (returns).

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use clock::Clock;
use db::testing::{self, TestDb};
use db::{Db, Migration, Migrations, Tx, Type, params};
use domain::id::NodeId;
use domain::time::{Timestamp, from_micros};
use futures_util::{Stream, StreamExt as _};
use service::Fault;
use uuid::Uuid;
use work_feed::{
    Cursor, Entry, Kind, Limits, Message, Open, Position, Read, Relayed, Room, close, put, rows,
};

/// The host's migrations: its own tables, and those of the feed.
const MIGRATIONS: &Migrations = &[
    Migration {
        version: 1,
        name: "chores",
        postgres: r#"CREATE TABLE chores (
            id UUID PRIMARY KEY, node_id TEXT COLLATE "C" NOT NULL, due_at BIGINT NOT NULL, state TEXT NOT NULL)"#,
        sqlite: "CREATE TABLE chores (
            id BLOB PRIMARY KEY, node_id TEXT NOT NULL, due_at INTEGER NOT NULL, state TEXT NOT NULL) STRICT",
    },
    work_feed::migration(2),
];

/// What a watcher gets: `chore 7 open`, `return 3 arrived`.
pub(crate) type Work = String;

/// The host's own kind: it has a table.
struct Chores;

pub(crate) const CHORE: &str = "chore";
pub(crate) const RETURN: &str = "return";

fn chore(row: &db::Row) -> Result<Open<Work>, Fault> {
    let id: Uuid = row.get("id")?;
    let state: String = row.get("state")?;
    let at = from_micros(row.get("due_at")?);
    let work = format!("chore {} {state}", id.as_u128());
    Ok(Open { position: Position { at, id }, updated: at, work })
}

#[async_trait]
impl Kind<Work, Fault> for Chores {
    fn name(&self) -> &'static str {
        CHORE
    }

    async fn open(
        &self,
        tx: &mut Tx,
        node: &NodeId,
        after: Position,
        limit: i64,
    ) -> Result<Vec<Open<Work>>, Fault> {
        let rows = tx
            .fetch_all(
                "SELECT * FROM chores WHERE node_id = $1 AND state = 'open' AND (due_at, id) > ($2, $3)
                  ORDER BY due_at, id LIMIT $4",
                params![node.as_str(), after.at.as_microsecond(), after.id, limit],
            )
            .await?;
        rows.iter().map(chore).collect()
    }

    /// Chores are large: three of them are a page.
    async fn read(&self, tx: &mut Tx, entries: &[Entry]) -> Result<Read<Work>, Fault> {
        let entries = &entries[..entries.len().min(3)];
        let ids = entries.iter().map(|entry| params![entry.id]).collect();
        let found = tx
            .batch_fetch("SELECT c.* FROM chores c JOIN {rows} ON c.id = r.id", &[("id", Type::Uuid)], ids)
            .await?;
        let open: Vec<Open<Work>> = found.iter().map(chore).collect::<Result<_, Fault>>()?;
        let work: HashMap<Uuid, Work> = open.into_iter().map(|open| (open.position.id, open.work)).collect();
        let one = |entry: &Entry| Some((entry.seq, work.get(&entry.id)?.clone()));
        Ok(Read { work: entries.iter().filter_map(one).collect(), entries: entries.len() })
    }
}

pub(crate) fn room(db: Db) -> Room<Work, Fault> {
    let returned = |id: Uuid, body: &[u8]| {
        let state = std::str::from_utf8(body).map_err(Fault::unreadable)?;
        Ok(format!("return {} {state}", id.as_u128()))
    };
    let limits = Limits { watchers: 8, keep_alive: Duration::from_mins(1) };
    let kinds: Vec<Box<dyn Kind<Work, Fault>>> =
        vec![Box::new(Chores), Box::new(Relayed::new(RETURN, returned))];
    Room::new(db, Clock::system(), limits, kinds)
}

pub(crate) fn node(code: &str) -> NodeId {
    NodeId::new(code).unwrap()
}

pub(crate) fn at(second: u32) -> Timestamp {
    Timestamp::from_second(i64::from(second)).unwrap()
}

fn place(id: u32) -> Position {
    Position { at: at(id), id: Uuid::from_u128(id.into()) }
}

/// The host in one process.
pub(crate) struct Host {
    pub(crate) db: TestDb,
    pub(crate) room: Room<Work, Fault>,
}

impl Host {
    pub(crate) async fn all() -> Vec<Self> {
        let host = |db: TestDb| Self { room: room(db.db()), db };
        testing::engines(&[("host", MIGRATIONS)]).await.into_iter().map(host).collect()
    }

    /// New chores, as the host takes them in: many at once, the numbers in their order.
    pub(crate) async fn chores(&self, node: &NodeId, ids: impl Iterator<Item = u32>) {
        let ids: Vec<u32> = ids.collect();
        let mut tx = self.db.begin().await.unwrap();
        let new: Vec<_> = ids.iter().map(|id| (node, Uuid::from_u128((*id).into()), at(*id))).collect();
        rows::append_new(&mut tx, CHORE, &new).await.unwrap();
        for id in ids {
            let row = params![Uuid::from_u128(id.into()), node.as_str(), at(id).as_microsecond()];
            let text = "INSERT INTO chores (id, node_id, due_at, state) VALUES ($1, $2, $3, 'open')";
            tx.execute(text, row).await.unwrap();
        }
        tx.commit().await.unwrap();
        self.room.wake(node);
    }

    /// A chore is done.
    pub(crate) async fn done(&self, id: u32) {
        let mut tx = self.db.begin().await.unwrap();
        let id = Uuid::from_u128(id.into());
        let text = work_feed::feed_of!("SELECT c.node_id FROM chores c WHERE c.id = $1");
        let mut feed = rows::lock_by(&mut tx, text, params![id]).await.unwrap().unwrap();
        tx.execute("UPDATE chores SET state = 'done' WHERE id = $1", params![id]).await.unwrap();
        feed.append(&mut tx, CHORE, id, at(9_000)).await.unwrap();
        tx.commit().await.unwrap();
        self.room.wake(feed.node());
    }

    /// An event of the other service: goods come back, or came.
    pub(crate) async fn heard(&self, node: &NodeId, id: u32, state: &str) {
        let mut tx = self.db.begin().await.unwrap();
        heard(&mut tx, node, id, state).await;
        tx.commit().await.unwrap();
        self.room.wake(node);
    }

    /// The stream from a token on; empty: from the start.
    pub(crate) async fn watch(&self, node: &NodeId, token: &str) -> Reader {
        let cursor = Cursor::of_token(node, token);
        assert!(cursor.is_some() || token.is_empty(), "{token}");
        Reader {
            stream: Box::pin(self.room.watch(node.clone(), cursor).await.unwrap()),
            token: String::new(),
        }
    }

    /// Forgets all changes so far.
    pub(crate) async fn trim(&self) {
        let mut tx = self.db.begin().await.unwrap();
        rows::prune(&mut tx, at(100_000), 10_000).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// What the host's consumer does with an event, in its transaction.
pub(crate) async fn heard(tx: &mut Tx, node: &NodeId, id: u32, state: &str) {
    let mut feeds = rows::lock(tx, [node.clone()]).await.unwrap();
    let feed = feeds.get_mut(node).unwrap();
    let place = place(id);
    match state {
        "over" => close(tx, feed, RETURN, place.id, state.as_bytes(), at(9_000)).await.unwrap(),
        _ => put(tx, feed, RETURN, place, state.as_bytes(), at(id)).await.unwrap(),
    }
}

/// One reader of a stream.
pub(crate) struct Reader {
    stream: Pin<Box<dyn Stream<Item = Result<Message<Work>, Fault>> + Send>>,
    pub(crate) token: String,
}

impl Reader {
    /// The next work with its number; none: a sign of life.
    pub(crate) async fn next(&mut self) -> Option<(i64, Work)> {
        let message = self.stream.next().await.unwrap().unwrap();
        self.token = message.resume_token;
        message.item.map(|item| (item.seq, item.work))
    }

    /// All work until the stream has caught up.
    pub(crate) async fn rest(&mut self) -> Vec<(i64, Work)> {
        let mut all = Vec::new();
        while let Some(work) = self.next().await {
            all.push(work);
        }
        all
    }
}

/// The state in which a reader knows each piece of work after what it was sent.
pub(crate) fn known<'a>(sent: impl IntoIterator<Item = &'a (i64, Work)>) -> BTreeMap<String, String> {
    let one = |(_, work): &(i64, Work)| {
        let (id, state) = work.rsplit_once(' ').unwrap();
        (id.to_owned(), state.to_owned())
    };
    sent.into_iter().map(one).collect()
}
