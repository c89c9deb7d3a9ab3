//! What an order says of its work beside the goods: for the screen of the node, and for those who read its events. No rule
//! of the work depends on it.

use contract::orders::v1::{OrderEvent, WorkRequest};
use contract::r#type::v1::{Packaging, Recipient, RecipientKind};

/// Who buys, and in which journey: opaque handles, each empty where it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Origin {
    pub(crate) member_ref: String,
    pub(crate) journey_id: String,
}

impl Origin {
    /// That of the order that an event is about.
    pub(crate) fn of(event: &OrderEvent) -> Self {
        Self { member_ref: event.member_ref.clone(), journey_id: event.journey_id.clone() }
    }
}

/// Who may receive the goods, and how they are packed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wishes {
    /// None: the buyer.
    pub(crate) recipient: Option<Recipient>,
    /// None: as usual.
    pub(crate) packaging: Option<Packaging>,
}

impl Wishes {
    /// Those of the group that work is for.
    pub(crate) fn of(work: &mut WorkRequest) -> Self {
        let recipient =
            Recipient { kind: work.recipient, recipient_refs: std::mem::take(&mut work.recipient_refs) };
        let is_buyer = match recipient.kind() {
            RecipientKind::Unspecified => recipient.recipient_refs.is_empty(),
            RecipientKind::Buyer | RecipientKind::Delegate | RecipientKind::Gift => false,
        };
        let packaging = work.packaging.take().filter(|packaging| *packaging != Packaging::default());
        Self { recipient: (!is_buyer).then_some(recipient), packaging }
    }
}
