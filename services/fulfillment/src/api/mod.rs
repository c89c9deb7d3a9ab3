//! What can be asked over gRPC: wire in, verb, wire out.

mod network;
mod promise;
mod work;

use bus::heads::{self, Asked};
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_events_service_server::FulfillmentEventsService;
use server::auth::{Access, kind};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::Fulfillment;
use crate::error::Error;

/// Who may call the gap requests.
const EVENTS: &[Access] = &[
    Access::to("/entrepot.fulfillment.v1.FulfillmentEventsService/ReplayEvents", &[kind::SERVICE, kind::OPS]),
    Access::to("/entrepot.fulfillment.v1.FulfillmentEventsService/ListHeads", &[kind::SERVICE, kind::OPS]),
];

/// Who may call what, of all that this service offers.
pub fn access() -> Vec<Access> {
    [network::ACCESS, promise::ACCESS, work::ACCESS, EVENTS].concat()
}

#[tonic::async_trait]
impl FulfillmentEventsService for Fulfillment {
    async fn replay_events(
        &self,
        request: Request<pb::ReplayEventsRequest>,
    ) -> Result<Response<pb::ReplayEventsResponse>, Status> {
        let asked = request.into_inner();
        let aggregate = Uuid::try_parse(&asked.aggregate_id)
            .map_err(|_| Error::field("aggregate_id", "must be a UUID"))?;
        if asked.from_sequence < 1 {
            return Err(Error::field("from_sequence", "must be at least 1").into());
        }
        let limit = page_size(asked.page_size, 500, 500)?;
        let events = self.replay(aggregate, asked.from_sequence, limit).await?;
        Ok(Response::new(pb::ReplayEventsResponse {
            events: events.iter().map(bus::replay::to_stored).collect(),
        }))
    }

    async fn list_heads(
        &self,
        request: Request<pb::ListHeadsRequest>,
    ) -> Result<Response<pb::ListHeadsResponse>, Status> {
        let asked = request.into_inner();
        let asked = Asked::from_wire(asked.changed_since, asked.page_size, &asked.page_token)
            .map_err(|(field, why)| Error::field(field, why))?;
        let mut tx = self.db.read().await.map_err(Error::from)?;
        let page = heads::read(&mut tx, asked, self.clock.business()).await.map_err(Error::from)?;
        let (heads, next_page_token, until_time) = page.into_wire();
        Ok(Response::new(pb::ListHeadsResponse { heads, next_page_token, until_time }))
    }
}

impl Fulfillment {
    async fn replay(&self, aggregate: Uuid, from: i64, limit: i64) -> Result<Vec<bus::Delivered>, Error> {
        let mut tx = self.db.read().await?;
        let events = bus::replay::read(&mut tx, aggregate, from, limit).await?;
        tx.commit().await?;
        Ok(events)
    }
}

/// The size of a page: `default` for 0, at most `most`.
fn page_size(asked: i32, default: i64, most: i64) -> Result<i64, Error> {
    match asked {
        0 => Ok(default),
        size if size > 0 => Ok(i64::from(size).min(most)),
        _ => Err(Error::field("page_size", "must not be negative")),
    }
}
