//! How far the aggregates of an owner are, for consumers that ask whether they miss the newest events.
//!
//! A gap is seen when a later event comes. The last event of an aggregate has no later one: if the transport lost it,
//! only a comparison with the owner shows that.

use std::sync::Arc;

use contract::r#type::v1::Head as WireHead;
use db::{Tx, params};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use uuid::Uuid;

use crate::event::from_micros;
use crate::replay::Failure;
use crate::{Error, Topic, outbox};

/// The most events that one page reads.
const PAGE: i64 = 1_000;
/// An event may be queued this long after another one that happened later, in microseconds: what happened so shortly
/// before the oldest pending event may be pending too.
const OVERLAP: i64 = 5_000_000;

/// How a consumer asks the owner of a topic how far its aggregates are.
pub type Heads = Arc<dyn Fn(Topic, Asked) -> BoxFuture<'static, Result<Page, Failure>> + Send + Sync>;

/// Which heads to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Only of aggregates with an event at this time or later.
    pub since: Timestamp,
    /// After this place in the list.
    pub after: Option<Cursor>,
    /// Events to read, at most 1,000.
    pub limit: i64,
}

/// A place in the list of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    at: i64,
    aggregate: Uuid,
    sequence: i64,
}

/// The last event of an aggregate that the transport has acknowledged, as far as a page looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Kind of aggregate.
    pub aggregate_type: String,
    /// The aggregate.
    pub aggregate: Uuid,
    /// The version.
    pub sequence: i64,
}

/// One page of the list. An aggregate is named once in a page, and may be named again in a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In no order.
    pub heads: Vec<Head>,
    /// Where the next page begins; none at the end.
    pub next: Option<Cursor>,
    /// The list ends before this time: what is not acknowledged yet is left out.
    pub until: Timestamp,
}

/// A field of a request that cannot be taken, and why.
pub type BadField = (&'static str, &'static str);

impl Asked {
    /// Everything since a time, from the first page on.
    pub fn since(since: Timestamp) -> Self {
        Self { since, after: None, limit: PAGE }
    }

    /// The time for a request of `ListHeads`.
    pub fn since_wire(&self) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds: self.since.as_second(), nanos: self.since.subsec_nanosecond() }
    }

    /// As `ListHeads` asks. No time means everything that is kept, a size of 0 the largest page.
    pub fn from_wire(
        changed_since: Option<prost_types::Timestamp>,
        page_size: i32,
        page_token: &str,
    ) -> Result<Self, BadField> {
        let since = match changed_since {
            None => Timestamp::UNIX_EPOCH,
            Some(at) => {
                Timestamp::new(at.seconds, at.nanos).map_err(|_| ("changed_since", "must be a time"))?
            }
        };
        let limit = match page_size {
            0 => PAGE,
            size if size < 0 => return Err(("page_size", "must not be negative")),
            size => i64::from(size).min(PAGE),
        };
        let after = match page_token {
            "" => None,
            token => Some(Cursor::parse(token).ok_or(("page_token", "must be one that was handed out"))?),
        };
        Ok(Self { since, after, limit })
    }
}

impl Cursor {
    fn parse(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let cursor = Self {
            at: parts.next()?.parse().ok()?,
            aggregate: Uuid::try_parse(parts.next()?).ok()?,
            sequence: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(cursor)
    }

    /// As a page token.
    pub fn token(&self) -> String {
        format!("{}.{}.{}", self.at, self.aggregate.simple(), self.sequence)
    }
}

impl Page {
    /// Heads, next page token and end, as `ListHeads` answers.
    pub fn into_wire(self) -> (Vec<WireHead>, String, Option<prost_types::Timestamp>) {
        let heads = self.heads.into_iter().map(|head| WireHead {
            aggregate_type: head.aggregate_type,
            aggregate_id: head.aggregate.to_string(),
            sequence: head.sequence,
        });
        let until =
            prost_types::Timestamp { seconds: self.until.as_second(), nanos: self.until.subsec_nanosecond() };
        (heads.collect(), self.next.map(|next| next.token()).unwrap_or_default(), Some(until))
    }

    /// From an answer of `ListHeads`.
    pub fn from_wire(
        heads: Vec<WireHead>,
        next_page_token: &str,
        until: Option<prost_types::Timestamp>,
    ) -> Result<Self, Error> {
        let unreadable = |what: &str| Error::Unreadable { what: format!("{what} of a list of heads") };
        let heads = heads.into_iter().map(|head| {
            let aggregate = head.aggregate_id.parse().map_err(|_| unreadable("aggregate_id"))?;
            Ok(Head { aggregate_type: head.aggregate_type, aggregate, sequence: head.sequence })
        });
        let next = match next_page_token {
            "" => None,
            token => Some(Cursor::parse(token).ok_or_else(|| unreadable("next_page_token"))?),
        };
        let until = until.ok_or_else(|| unreadable("until"))?;
        let until = Timestamp::new(until.seconds, until.nanos).map_err(|_| unreadable("until"))?;
        Ok(Self { heads: heads.collect::<Result<_, Error>>()?, next, until })
    }
}

/// The owner's side: one page of the heads, along the index of `events` by time. `now` is the owner's business time.
pub async fn read(tx: &mut Tx, asked: Asked, now: Timestamp) -> Result<Page, Error> {
    let oldest = outbox::oldest(tx).await?;
    let end = now.as_microsecond().saturating_add(1);
    let end = oldest.map_or(end, |oldest| oldest.as_microsecond().saturating_sub(OVERLAP).min(end));
    let after = asked.after.unwrap_or(Cursor {
        at: asked.since.as_microsecond(),
        aggregate: Uuid::nil(),
        sequence: 0,
    });
    let limit = asked.limit.clamp(1, PAGE);
    let rows = tx
        .fetch_all(
            "SELECT aggregate_type, aggregate, sequence, occurred_at FROM events
              WHERE occurred_at >= $1 AND occurred_at < $4
                AND (occurred_at > $1 OR aggregate > $2 OR (aggregate = $2 AND sequence > $3))
              ORDER BY occurred_at, aggregate, sequence LIMIT $5",
            params![after.at, after.aggregate, after.sequence, end, limit],
        )
        .await?;
    let mut heads: std::collections::HashMap<Uuid, Head> = std::collections::HashMap::new();
    let mut last = None;
    for row in &rows {
        let (aggregate, sequence) = (row.get("aggregate")?, row.get("sequence")?);
        last = Some(Cursor { at: row.get("occurred_at")?, aggregate, sequence });
        let head = Head { aggregate_type: row.get("aggregate_type")?, aggregate, sequence };
        let known = heads.entry(aggregate).or_insert_with(|| head.clone());
        if known.sequence < sequence {
            *known = head;
        }
    }
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count == limit);
    Ok(Page {
        heads: heads.into_values().collect(),
        next: last.filter(|_| is_full),
        until: from_micros(end)?,
    })
}

/// Asks databases in this process, by topic: for one process with several services, and for tests.
pub fn from_databases(owners: Vec<(Topic, db::Db, clock::Clock)>) -> Heads {
    Arc::new(move |topic, asked| {
        let owner = owners.iter().find(|(owned, ..)| *owned == topic).cloned();
        async move {
            let Some((_, db, clock)) = owner else {
                return Err(format!("{topic} has no owner here").into());
            };
            let mut tx = db.read().await?;
            Ok(read(&mut tx, asked, clock.business()).await?)
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_answer_survive_the_wire() {
        let next = Cursor { at: -7, aggregate: Uuid::from_u128(3), sequence: 9 };
        let head = Head { aggregate_type: "order".to_owned(), aggregate: Uuid::from_u128(3), sequence: 9 };
        let page =
            Page { heads: vec![head], next: Some(next), until: Timestamp::from_microsecond(5).unwrap() };
        let (heads, token, until) = page.clone().into_wire();
        assert_eq!(Page::from_wire(heads, &token, until).unwrap(), page);
        assert_eq!(Asked::from_wire(None, 0, &token).unwrap().after, Some(next));
        assert_eq!(Asked::from_wire(None, -1, "").unwrap_err().0, "page_size");
        for bad in ["x", "1.2.3", "1.00000000000000000000000000000003.9.9"] {
            assert_eq!(Asked::from_wire(None, 0, bad).unwrap_err().0, "page_token", "{bad}");
        }
    }
}
