//! Where an order comes from: opaque handles that its events carry, so that what follows can be joined to what came before.

/// Who buys and what brought the order about. Each handle is empty where it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The member who buys, the same in all channels.
    pub member_ref: String,
    /// The journey that the order belongs to, from the first visit to the feedback.
    pub journey_id: String,
    /// What brought it about.
    pub attribution: Attribution,
}

/// What brought an order about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attribution {
    /// The guide who advised.
    pub guide: String,
    /// The campaign.
    pub campaign: String,
    /// What was seen: a post, a live stream, a page.
    pub content: String,
    /// The session in which it was seen.
    pub session: String,
}
