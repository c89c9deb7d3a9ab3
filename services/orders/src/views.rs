//! Reads: one order, many, the timeline, and the stored events for those who missed some.

use contract::orders::v1 as pb;
use domain::id::{OrderId, Uuid};
use domain::order::Order;
use domain::time::from_micros;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::store::{self, Filter, Loaded, Position};
use crate::wire::Lookup;
use crate::{Orders, page, wire};

/// The most bytes of one page of orders.
const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// The most bytes of stored events in one answer.
const MAX_REPLAY_BYTES: usize = 1024 * 1024;

impl Orders {
    /// One order.
    pub(crate) async fn get(&self, id: OrderId) -> Result<Order, Error> {
        self.find(id).await
    }

    /// One order by its channel's number.
    pub(crate) async fn get_by_channel(&self, wanted: Lookup) -> Result<Order, Error> {
        let mut tx = self.db.snapshot().await?;
        let missing = || Error::NumberNotFound {
            channel: wanted.channel.clone(),
            number: wanted.channel_order_id.clone(),
        };
        let found = store::by_channel(&mut tx, &wanted.channel, &wanted.channel_order_id).await?;
        let loaded = store::load(&mut tx, found.ok_or_else(missing)?.id).await?;
        loaded.map(|loaded| loaded.order).ok_or_else(missing)
    }

    /// A page of orders, newest first.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        limit: i64,
        token: &str,
        binding: &[u8],
    ) -> Result<pb::ListOrdersResponse, Error> {
        let after = page::position(token, binding)?;
        let mut tx = self.db.snapshot().await?;
        let (found, next) = store::page(&mut tx, filter, after, limit).await?;
        let orders = fitting(found.iter().map(|loaded| wire::order(&loaded.order)));
        let last = found.get(orders.len().saturating_sub(1)).filter(|_| orders.len() < found.len());
        let last =
            last.map(|Loaded { order, .. }| Position { placed_at: order.placed_at, id: order.id.uuid() });
        let next = last.or(next);
        Ok(pb::ListOrdersResponse {
            orders,
            next_page_token: next.map(|position| page::token(position, binding)).unwrap_or_default(),
        })
    }

    /// A page of an order's timeline, oldest first.
    pub(crate) async fn timeline(
        &self,
        order: OrderId,
        limit: i64,
        token: &str,
    ) -> Result<pb::ListOrderTimelineResponse, Error> {
        let binding =
            Sha256::new().chain_update(b"timeline").chain_update(order.uuid().as_bytes()).finalize();
        // The number of the last step takes the place of the time in the token.
        let after = page::position(token, &binding)?;
        let after = after.map_or(0, |position| domain::time::micros(position.placed_at));
        let mut tx = self.db.snapshot().await?;
        let mut steps = store::timeline(&mut tx, order, after, limit + 1).await?;
        if steps.is_empty() && after == 0 {
            return Err(Error::NotFound(order.to_string()));
        }
        let limit = usize::try_from(limit).unwrap_or_default();
        let more = steps.len() > limit;
        steps.truncate(limit);
        let last = steps.last().filter(|_| more);
        let next = last.map(|step| Position { placed_at: from_micros(step.number), id: order.uuid() });
        Ok(pb::ListOrderTimelineResponse {
            next_page_token: next.map(|position| page::token(position, &binding)).unwrap_or_default(),
            entries: steps.into_iter().map(wire::step).collect(),
        })
    }

    /// Stored events of one order from a sequence on.
    pub(crate) async fn replay(
        &self,
        aggregate: Uuid,
        from: i64,
        limit: i64,
    ) -> Result<pb::ReplayEventsResponse, Error> {
        let mut tx = self.db.read().await?;
        let events = bus::replay::read(&mut tx, aggregate, from, limit).await?;
        let mut bytes = 0;
        let mut fits = |event: &bus::Delivered| {
            bytes += event.payload.len();
            bytes <= MAX_REPLAY_BYTES || bytes == event.payload.len()
        };
        let events = events.iter().take_while(|event| fits(event)).map(bus::replay::to_stored);
        Ok(pb::ReplayEventsResponse { events: events.collect() })
    }
}

/// The orders that fit into an answer: at least one.
fn fitting(orders: impl Iterator<Item = pb::Order>) -> Vec<pb::Order> {
    let mut bytes = 0;
    let mut page: Vec<pb::Order> = Vec::new();
    for order in orders {
        bytes += order.encoded_len();
        if bytes > MAX_PAGE_BYTES && !page.is_empty() {
            break;
        }
        page.push(order);
    }
    page
}
