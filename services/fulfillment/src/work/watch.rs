//! The stream of a node's work, and how fulfillment orders stand in it.

use std::collections::HashMap;
use std::pin::Pin;

use async_trait::async_trait;
use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::id::NodeId;
use futures_util::{Stream, StreamExt as _};
use server::Principal;
use service::speaks_for;
use tonic::Status;
use uuid::Uuid;
use work_feed::{Entry, Kind, Open, Position, Read};

use super::command::WatchWork;
use crate::store::feed::KIND;
use crate::store::work::{self as store, Stored};
use crate::wire::work as wire;
use crate::{Error, Fulfillment};

/// What a store reads.
pub(crate) type WorkStream = Pin<Box<dyn Stream<Item = Result<pb::WatchWorkResponse, Status>> + Send>>;

/// The kind of work that fulfillment orders are.
pub(crate) struct FulfillmentOrders;

#[async_trait]
impl Kind<Stored, Error> for FulfillmentOrders {
    fn name(&self) -> &'static str {
        KIND
    }

    async fn open(
        &self,
        tx: &mut Tx,
        node: &NodeId,
        after: Position,
        limit: i64,
    ) -> Result<Vec<Open<Stored>>, Error> {
        let open = |stored: Stored| Open {
            position: Position { at: stored.order.promised, id: stored.order.id.uuid() },
            updated: stored.updated,
            work: stored,
        };
        Ok(store::open_work(tx, node, after, limit).await?.work.into_iter().map(open).collect())
    }

    async fn read(&self, tx: &mut Tx, entries: &[Entry]) -> Result<Read<Stored>, Error> {
        // The same work may have changed several times, and is read once.
        let mut ids: Vec<Uuid> = Vec::with_capacity(entries.len());
        for entry in entries {
            if !ids.contains(&entry.id) {
                ids.push(entry.id);
            }
        }
        let fits = store::fitting_of(tx, &ids).await?;
        let read = entries.iter().take_while(|entry| ids[..fits].contains(&entry.id)).count();
        let loaded = store::many(tx, &ids[..fits]).await?;
        let by_id: HashMap<Uuid, Stored> =
            loaded.into_iter().map(|stored| (stored.order.id.uuid(), stored)).collect();
        let work = |entry: &Entry| Some((entry.seq, by_id.get(&entry.id)?.clone()));
        Ok(Read { work: entries[..read].iter().filter_map(work).collect(), entries: read })
    }
}

impl Fulfillment {
    /// Opens the stream of a node's work.
    pub(crate) async fn watch_work(&self, who: &Principal, command: WatchWork) -> Result<WorkStream, Error> {
        let WatchWork { node, cursor } = command;
        if !speaks_for(who, &node) || self.node(&node).is_none() {
            return Err(Error::NodeNotFound(node.to_string()));
        }
        let messages = self.work.room.watch(node, cursor).await?;
        let answer = |message: Result<_, Error>| Ok(wire::watched(message?));
        Ok(Box::pin(messages.map(answer)))
    }
}
