//! What can be asked over gRPC: wire in, verb, wire out.

mod network;
mod promise;
mod work;

use contract::fulfillment::v1::fulfillment_events_service_server::FulfillmentEventsService;
use server::auth::{Access, kind};
use service::Fields;

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

service::serve_events!(
    Fulfillment,
    FulfillmentEventsService,
    contract::fulfillment::v1,
    crate::error::DOMAIN
);

/// The size of a page: `default` for 0, at most `most`.
fn page_size(asked: i32, default: i64, most: i64) -> Result<i64, Error> {
    let mut fields = Fields::default();
    let size = fields.page_size(asked, default, most);
    fields.done()?;
    Ok(size)
}
