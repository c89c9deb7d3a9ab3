//! Where orders come from, on the wire and in storage.

use contract::orders::v1::PlaceOrderRequest;
use contract::r#type::v1 as common;
use domain::order::{Attribution, Origin};
use prost::Message as _;
use service::Fields;

/// Who buys, and what brought the order about: handles alone, as all of it goes into events.
pub(super) fn origin(fields: &mut Fields, request: &PlaceOrderRequest) -> Origin {
    let handle = |fields: &mut Fields, field: &str, text: &str| fields.handle(field, text, 64);
    let given = request.attribution.clone().unwrap_or_default();
    Origin {
        member_ref: handle(fields, "member_ref", &request.member_ref),
        journey_id: handle(fields, "journey_id", &request.journey_id),
        attribution: Attribution {
            guide: handle(fields, "attribution.guide", &given.guide),
            campaign: handle(fields, "attribution.campaign", &given.campaign),
            content: handle(fields, "attribution.content", &given.content),
            session: handle(fields, "attribution.session", &given.session),
        },
    }
}

/// What brought an order about; none: nothing is known.
pub(super) fn attribution(of: &Attribution) -> Option<common::Attribution> {
    let Attribution { guide, campaign, content, session } = of.clone();
    (*of != Attribution::default()).then_some(common::Attribution { guide, campaign, content, session })
}

/// What brought an order about, as it is stored. Nothing known: no bytes.
pub(crate) fn packed_attribution(of: &Attribution) -> Vec<u8> {
    attribution(of).unwrap_or_default().encode_to_vec()
}

/// What was stored; none: the bytes are not what [`packed_attribution`] makes.
pub(crate) fn unpacked_attribution(bytes: &[u8]) -> Option<Attribution> {
    let common::Attribution { guide, campaign, content, session } =
        common::Attribution::decode(bytes).ok()?;
    Some(Attribution { guide, campaign, content, session })
}
