//! What can go wrong between services.

use uuid::Uuid;

/// Named by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The caller sent another request under an id it had used before.
    #[error("request id {request_id} was already used with another body")]
    RequestIdReused {
        /// The id in question.
        request_id: Uuid,
    },
    /// The same request is being worked on; ask again with the same id.
    #[error("request id {request_id} is in progress, retry")]
    Unsettled {
        /// The id in question.
        request_id: Uuid,
    },
    /// An event was too large to be kept.
    #[error("{event_type} has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// What it says happened.
        event_type: String,
        /// Size of its payload.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// An event without a version.
    #[error("{event_type} of {aggregate} has sequence {sequence}, the first is 1")]
    BadSequence {
        /// What it says happened.
        event_type: String,
        /// To which aggregate.
        aggregate: Uuid,
        /// The refused number.
        sequence: i64,
    },
    /// Nothing is parked there.
    #[error("no event of {aggregate} is parked for {consumer}")]
    NotParked {
        /// The consumer named.
        consumer: String,
        /// The aggregate named.
        aggregate: Uuid,
    },
    /// Only the first parked event of an aggregate can be decided upon.
    #[error("event {sequence} of {aggregate} is not the first parked one, {head} is")]
    NotHead {
        /// The aggregate named.
        aggregate: Uuid,
        /// The sequence named.
        sequence: i64,
        /// The sequence that comes first.
        head: i64,
    },
    /// The parked event does not wait for missing ones.
    #[error("event {sequence} of {aggregate} has no gap before it")]
    NoGap {
        /// The aggregate named.
        aggregate: Uuid,
        /// The sequence named.
        sequence: i64,
    },
    /// No topic has this name.
    #[error("unknown topic {name}")]
    UnknownTopic {
        /// The name.
        name: String,
    },
    /// Stored or received bytes that are not what they should be.
    #[error("unreadable: {what}")]
    Unreadable {
        /// What was wrong.
        what: String,
    },
    /// Asked to stop before the work was done; it will be done later.
    #[error("stopping")]
    Stopping,
    /// The broker or its client.
    #[error("broker: {0}")]
    Broker(String),
    /// The database.
    #[error(transparent)]
    Db(#[from] db::Error),
}

impl Error {
    /// Whether the database, the broker or a peer does not work, and nothing is wrong with what was asked.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Db(error) => error.is_outage(),
            Self::Broker(_) => true,
            Self::RequestIdReused { .. }
            | Self::Unsettled { .. }
            | Self::TooLarge { .. }
            | Self::BadSequence { .. }
            | Self::NotParked { .. }
            | Self::NotHead { .. }
            | Self::NoGap { .. }
            | Self::UnknownTopic { .. }
            | Self::Unreadable { .. }
            | Self::Stopping => false,
        }
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_retry(&self) -> bool {
        match self {
            Self::Unsettled { .. } | Self::Stopping | Self::Broker(_) => true,
            Self::Db(error) => error.is_retry(),
            Self::RequestIdReused { .. }
            | Self::TooLarge { .. }
            | Self::BadSequence { .. }
            | Self::NotParked { .. }
            | Self::NotHead { .. }
            | Self::NoGap { .. }
            | Self::UnknownTopic { .. }
            | Self::Unreadable { .. } => false,
        }
    }
}
