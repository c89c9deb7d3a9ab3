//! What can be asked over gRPC: wire in, verb, wire out.

mod network;
mod policy;
mod promise;
mod work;

use contract::fulfillment::v1::fulfillment_events_service_server::FulfillmentEventsService;
use service::Fields;

use crate::Fulfillment;
use crate::error::Error;

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
