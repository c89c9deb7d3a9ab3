//! Reads: one order, many, and the timeline.

use contract::orders::v1 as pb;
use domain::id::{OrderId, Uuid};
use domain::order::Order;
use domain::time::{from_micros, micros};
use server::Principal;
use service::wire::fitting;
use service::{Fault, token};

use crate::command::Lookup;
use crate::error::Error;
use crate::store::{self, Filter, Loaded, Position};
use crate::{Orders, rights, wire};

impl Orders {
    /// One order.
    pub(crate) async fn get(&self, id: OrderId) -> Result<Order, Error> {
        self.find(id).await
    }

    /// One order by its channel's number.
    pub(crate) async fn get_by_channel(&self, wanted: Lookup, who: &Principal) -> Result<Order, Error> {
        let mut tx = self.db.snapshot().await?;
        let missing = || Error::NumberNotFound {
            channel: wanted.channel.clone(),
            number: wanted.channel_order_id.clone(),
        };
        let found = store::by_channel(&mut tx, &wanted.channel, &wanted.channel_order_id).await?;
        let loaded = store::load(&mut tx, found.ok_or_else(missing)?.id).await?;
        let order = loaded.map(|loaded| loaded.order).ok_or_else(missing)?;
        // The id of an order of somebody else is not said.
        rights::must_own(who, &order).map_err(|_| missing())?;
        Ok(order)
    }

    /// A page of orders, newest first.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        limit: i64,
        page_token: &str,
        binding: &[u8],
    ) -> Result<pb::ListOrdersResponse, Error> {
        let after = token::page(binding, page_token)?.as_deref().map(position).transpose()?;
        let mut tx = self.db.snapshot().await?;
        let (found, next) = store::page(&mut tx, filter, after, limit).await?;
        let orders = fitting(found.iter().map(|loaded| wire::order(&loaded.order)));
        let last = found.get(orders.len().saturating_sub(1)).filter(|_| orders.len() < found.len());
        let last =
            last.map(|Loaded { order, .. }| Position { placed_at: order.placed_at, id: order.id.uuid() });
        let next = last.or(next);
        Ok(pb::ListOrdersResponse {
            orders,
            next_page_token: next.map(|position| page_token_of(position, binding)).unwrap_or_default(),
        })
    }

    /// A page of an order's timeline, oldest first.
    pub(crate) async fn timeline(
        &self,
        order: OrderId,
        limit: i64,
        page_token: &str,
    ) -> Result<pb::ListOrderTimelineResponse, Error> {
        let query = format!("timeline {order}");
        let after = match token::page(&query, page_token)? {
            Some(number) => i64::from_be_bytes(number.try_into().map_err(|_| token::strange_page())?),
            None => 0,
        };
        let mut tx = self.db.snapshot().await?;
        let mut steps = store::timeline(&mut tx, order, after, limit + 1).await?;
        if steps.is_empty() && after == 0 {
            return Err(Error::NotFound(order.to_string()));
        }
        let limit = usize::try_from(limit).unwrap_or_default();
        let more = steps.len() > limit;
        steps.truncate(limit);
        let last = steps.last().filter(|_| more);
        let next = last.map(|step| token::seal(&query, step.number.to_be_bytes()));
        Ok(pb::ListOrderTimelineResponse {
            next_page_token: next.unwrap_or_default(),
            entries: steps.into_iter().map(wire::step).collect(),
        })
    }
}

fn page_token_of(position: Position, binding: &[u8]) -> String {
    let mut body = micros(position.placed_at).to_be_bytes().to_vec();
    body.extend(position.id.as_bytes());
    token::seal(binding, body)
}

fn position(body: &[u8]) -> Result<Position, Fault> {
    let (at, id) = body.split_first_chunk::<8>().ok_or_else(token::strange_page)?;
    let id = Uuid::from_slice(id).map_err(|_| token::strange_page())?;
    Ok(Position { placed_at: from_micros(i64::from_be_bytes(*at)), id })
}
