//! Reads of the nodes' work.

use std::collections::HashMap;

use contract::fulfillment::v1 as pb;
use domain::id::{FulfillmentId, Uuid};
use server::Principal;
use service::speaks_for;

use super::command::{ListOfOrder, ListWork};
use crate::store::work::{self as store, Stored};
use crate::wire::fitting;
use crate::wire::token::order_token;
use crate::wire::work as wire;
use crate::{Error, Fulfillment, rights};

impl Fulfillment {
    pub(crate) async fn get_work(
        &self,
        who: &Principal,
        id: FulfillmentId,
    ) -> Result<pb::FulfillmentOrder, Error> {
        let mut tx = self.db.read().await?;
        let stored = store::load(&mut tx, id).await?;
        let visible = stored.filter(|stored| rights::sees_work(who, stored));
        let stored = visible.ok_or_else(|| Error::FulfillmentNotFound(id.to_string()))?;
        Ok(wire::fulfillment_order(&stored))
    }

    /// A page of the fulfillment orders of an order. It may be short: it ends before it reads too many lines, and a store
    /// or a channel sees its own.
    pub(crate) async fn list_of_order(
        &self,
        who: &Principal,
        list: &ListOfOrder,
    ) -> Result<pb::ListFulfillmentOrdersResponse, Error> {
        let limit = i64::try_from(list.size).unwrap_or(i64::MAX);
        let mut tx = self.db.snapshot().await?;
        let found = store::of_order(&mut tx, list.order, list.after, limit + 1).await?;
        let ids: Vec<Uuid> = found.iter().take(list.size).map(|position| position.id).collect();
        let taken = store::fitting_of(&mut tx, &ids).await?;
        let loaded = store::many(&mut tx, &ids[..taken]).await?;
        let mut by_id: HashMap<Uuid, Stored> =
            loaded.into_iter().map(|stored| (stored.order.id.uuid(), stored)).collect();
        let stored = ids[..taken].iter().filter_map(|id| by_id.remove(id));
        let visible = stored.filter(|stored| rights::sees_work(who, stored));
        let fulfillment_orders = visible.map(|stored| wire::fulfillment_order(&stored)).collect();
        let next = found[..taken].last().filter(|_| taken < found.len());
        let next_page_token = next.map_or_else(String::new, |last| order_token(list.order, *last));
        Ok(pb::ListFulfillmentOrdersResponse { fulfillment_orders, next_page_token })
    }

    pub(crate) async fn list_work(
        &self,
        who: &Principal,
        list: &ListWork,
    ) -> Result<pb::ListWorkResponse, Error> {
        if !speaks_for(who, &list.node) || self.node(&list.node).is_none() {
            return Err(Error::NodeNotFound(list.node.to_string()));
        }
        let limit = i64::try_from(list.size).unwrap_or(i64::MAX);
        let mut tx = self.db.snapshot().await?;
        let page = if list.states.is_empty() {
            store::open_work(&mut tx, &list.node, list.after, limit).await?
        } else {
            store::in_states(&mut tx, &list.node, &list.states, list.after, limit).await?
        };
        let fulfillment_orders = fitting(page.work.iter().map(wire::fulfillment_order));
        let shown = fulfillment_orders.len();
        let next = page.work[..shown].last().filter(|_| page.more || shown < page.work.len());
        let next_page_token = next
            .map_or_else(String::new, |last| crate::wire::token::page_token(&list.node, &list.states, last));
        Ok(pb::ListWorkResponse { fulfillment_orders, next_page_token })
    }
}
