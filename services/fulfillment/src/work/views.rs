//! Reads of the nodes' work.

use contract::fulfillment::v1 as pb;
use server::Principal;
use service::speaks_for;

use super::command::{GetWork, ListWork};
use crate::store::work as store;
use crate::wire::fitting;
use crate::wire::work as wire;
use crate::{Error, Fulfillment};

impl Fulfillment {
    pub(crate) async fn get_work(
        &self,
        who: &Principal,
        key: GetWork,
    ) -> Result<pb::FulfillmentOrder, Error> {
        let mut tx = self.db.read().await?;
        let (id, asked) = match key {
            GetWork::Of(id) => (Some(id), id.to_string()),
            GetWork::NewestOf(order) => (store::newest_of(&mut tx, order).await?, order.to_string()),
        };
        let stored = match id {
            Some(id) => store::load(&mut tx, id).await?,
            None => None,
        };
        let visible = stored.filter(|stored| speaks_for(who, &stored.order.node));
        let stored = visible.ok_or(Error::FulfillmentNotFound(asked))?;
        Ok(wire::fulfillment_order(&stored))
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
