//! What can go wrong, and the one place where it becomes a gRPC status.

use std::time::Duration;

use contract::fulfillment::v1::PromiseState;
use domain::id::{OrderId, PromiseToken};
use domain::order::Refusal;
use domain::words;
use server::{Violation, invalid, retry_later, status};
use tonic::{Code, Status};

/// The domain of our errors.
pub(crate) const DOMAIN: &str = "orders.entrepot";

/// What can go wrong, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request that can't be taken.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// No such order.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The channel has no order of this number.
    #[error("{number} of channel {channel} does not exist")]
    NumberNotFound {
        /// The channel.
        channel: String,
        /// Its own number.
        number: String,
    },
    /// The channel used this number for another order.
    #[error("the channel used this channel_order_id for {0}, which is another order")]
    ChannelIdTaken(OrderId),
    /// The promise token belongs to another order.
    #[error("the promise token belongs to another order")]
    PromiseTaken,
    /// The promise token holds nothing, or nothing any more.
    #[error("{}", not_live(*.state))]
    PromiseNotLive {
        /// The token.
        token: PromiseToken,
        /// Where it stands.
        state: PromiseState,
    },
    /// Every hold that was made for this request ended before it was used.
    #[error("the stock could not be held; ask again with a new request_id")]
    NotHeld,
    /// A rule says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The order changed while the peers were asked.
    #[error("the order changed meanwhile, ask again")]
    ChangedMeanwhile,
    /// Another service said no, or could not be reached.
    #[error("{}", .0.message())]
    Peer(Box<Status>),
    /// Too much is waiting.
    #[error("too much is waiting, try again")]
    Busy,
    /// The work was interrupted: whether it was done is known by asking again.
    #[error("interrupted, ask again with the same request_id")]
    Interrupted,
    /// Too many streams are open.
    #[error("too many streams are open")]
    TooManyWatchers,
    /// Something stored or received can't be read.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// The bus.
    #[error(transparent)]
    Bus(bus::Error),
    /// The database.
    #[error(transparent)]
    Db(#[from] db::Error),
}

impl Error {
    /// One bad field.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, description)])
    }

    /// What another service answered.
    pub(crate) fn peer(answer: Status) -> Self {
        Self::Peer(Box::new(answer))
    }

    /// Whether the whole transaction may succeed when it is repeated.
    pub(crate) fn is_retry(&self) -> bool {
        match self {
            Self::Db(error) => error.is_retry(),
            Self::Bus(error) => error.is_retry(),
            Self::Invalid(_)
            | Self::NotFound(_)
            | Self::NumberNotFound { .. }
            | Self::ChannelIdTaken(_)
            | Self::PromiseTaken
            | Self::PromiseNotLive { .. }
            | Self::NotHeld
            | Self::Refused(_)
            | Self::ChangedMeanwhile
            | Self::Peer(_)
            | Self::Busy
            | Self::Interrupted
            | Self::TooManyWatchers
            | Self::Unreadable(_) => false,
        }
    }
}

impl From<bus::Error> for Error {
    fn from(error: bus::Error) -> Self {
        match error {
            bus::Error::Db(error) => Self::Db(error),
            other => Self::Bus(other),
        }
    }
}

impl From<Error> for bus::HandleError {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => error.into(),
            Error::Bus(error) => error.into(),
            other => Self::poison(other),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let plain = |code, reason| status(code, reason, DOMAIN, text.clone(), []);
        let told = |code, reason, facts: Vec<(&str, String)>| {
            let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value));
            status(code, reason, DOMAIN, text.clone(), facts)
        };
        match error {
            Error::Invalid(violations) => invalid(DOMAIN, violations),
            Error::NotFound(order) => told(Code::NotFound, "ORDER_NOT_FOUND", vec![("order_id", order)]),
            Error::NumberNotFound { channel, number } => {
                let facts = vec![("channel", channel), ("channel_order_id", number)];
                told(Code::NotFound, "ORDER_NOT_FOUND", facts)
            }
            Error::ChannelIdTaken(order) => {
                let facts = vec![("order_id", order.to_string())];
                told(Code::AlreadyExists, "CHANNEL_ORDER_ID_TAKEN", facts)
            }
            Error::PromiseTaken => plain(Code::FailedPrecondition, "PROMISE_TAKEN"),
            Error::PromiseNotLive { token, state } => {
                let facts =
                    vec![("promise_token", token.to_string()), ("state", state_name(state).to_owned())];
                let (code, reason) = match state {
                    PromiseState::Pending => (Code::Aborted, "PROMISE_PENDING"),
                    PromiseState::Unspecified
                    | PromiseState::Live
                    | PromiseState::Confirmed
                    | PromiseState::Released
                    | PromiseState::Expired => (Code::FailedPrecondition, "PROMISE_NOT_LIVE"),
                };
                told(code, reason, facts)
            }
            Error::NotHeld => plain(Code::Aborted, "NOT_HELD"),
            Error::Refused(refusal) => refused(&refusal),
            Error::ChangedMeanwhile => plain(Code::Aborted, "ORDER_CHANGED"),
            Error::Peer(answer) => passed_on(&answer),
            Error::Busy => server::exhausted(DOMAIN, "TOO_BUSY", Duration::from_millis(100), text),
            Error::Interrupted => retry_later(DOMAIN, "INTERRUPTED", Duration::from_millis(100), text),
            Error::TooManyWatchers => {
                server::exhausted(DOMAIN, "TOO_MANY_WATCHERS", Duration::from_secs(5), text)
            }
            Error::Unreadable(_) => plain(Code::Internal, "UNREADABLE"),
            Error::Bus(error) => from_bus(&error),
            Error::Db(error) => from_db(&error),
        }
    }
}

/// The name of a promise's state, without what all of them begin with.
fn state_name(state: PromiseState) -> &'static str {
    state.as_str_name().trim_start_matches("PROMISE_STATE_")
}

/// Why nothing can be placed on a promise, and what to do.
fn not_live(state: PromiseState) -> String {
    match state {
        PromiseState::Pending => "the promise is still being made, ask again".to_owned(),
        PromiseState::Unspecified
        | PromiseState::Live
        | PromiseState::Confirmed
        | PromiseState::Released
        | PromiseState::Expired => {
            format!("the promise has ended ({}), ask for a new one", words::plain(state_name(state)))
        }
    }
}

/// The reason of each refusal, and what the caller may want to know.
fn refused(refusal: &Refusal) -> Status {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    let reason = match refusal {
        Refusal::Over { status, .. } => {
            fact("status", status.name().to_owned());
            "ORDER_OVER"
        }
        Refusal::UnknownLine { .. } => "UNKNOWN_LINE",
        Refusal::NotCancellable { asked, left, .. } => {
            fact("asked", asked.to_string());
            fact("left", left.to_string());
            "NOT_CANCELLABLE"
        }
        Refusal::NothingToCancel => "NOTHING_TO_CANCEL",
        Refusal::UnknownTender { .. } => {
            return invalid(DOMAIN, vec![Violation::new("tender_id", refusal.to_string())]);
        }
        Refusal::AmountDiffers { due, given, .. } => {
            fact("due_minor", due.minor.to_string());
            fact("given_minor", given.minor.to_string());
            "AMOUNT_DIFFERS"
        }
        Refusal::TenderState { from, to, .. } => {
            fact("from", from.to_string());
            fact("to", to.to_string());
            "TENDER_STATE"
        }
        Refusal::TenderInUse { .. } => "TENDER_IN_USE",
        Refusal::NeedsHold => {
            return Status::from(Error::ChangedMeanwhile);
        }
        Refusal::OtherReservation => "OTHER_RESERVATION",
        Refusal::AlreadyConfirmed => "ALREADY_CONFIRMED",
        Refusal::NotDue => "NOT_DUE",
        Refusal::OtherFulfillment { .. } => "OTHER_FULFILLMENT",
        Refusal::BadSnapshot { .. } => "BAD_SNAPSHOT",
    };
    if let Some(line) = refusal.line() {
        fact("line", line.to_string());
    }
    status(Code::FailedPrecondition, reason, DOMAIN, refusal.to_string(), facts)
}

/// The answer of another service, told on as it is: its reason and its facts name what the caller can change. What
/// is its own trouble is told as such.
fn passed_on(answer: &Status) -> Status {
    match answer.code() {
        Code::Internal | Code::Unknown | Code::Unimplemented | Code::DataLoss | Code::Unauthenticated => {
            tracing::error!(code = ?answer.code(), message = answer.message(), "another service failed");
            retry_later(DOMAIN, "PEER_FAILED", Duration::from_secs(1), "another service failed, ask again")
        }
        code => Status::with_details(code, answer.message(), bytes::Bytes::copy_from_slice(answer.details())),
    }
}

fn from_bus(error: &bus::Error) -> Status {
    let text = error.to_string();
    match error {
        bus::Error::RequestIdReused { .. } => {
            status(Code::InvalidArgument, "REQUEST_ID_REUSED", DOMAIN, text, [])
        }
        bus::Error::Unsettled { .. } => {
            retry_later(DOMAIN, "REQUEST_IN_PROGRESS", Duration::from_millis(100), text)
        }
        bus::Error::Db(error) => from_db(error),
        bus::Error::TooLarge { .. }
        | bus::Error::BadSequence { .. }
        | bus::Error::NotParked { .. }
        | bus::Error::NotHead { .. }
        | bus::Error::NoGap { .. }
        | bus::Error::UnknownTopic { .. }
        | bus::Error::Unreadable { .. }
        | bus::Error::Stopping
        | bus::Error::Broker(_) => status(Code::Internal, "BUS", DOMAIN, text, []),
    }
}

fn from_db(error: &db::Error) -> Status {
    let text = error.to_string();
    match error {
        db::Error::Retry(_) => retry_later(DOMAIN, "RETRY", Duration::from_millis(50), text),
        db::Error::Unavailable(_) => {
            retry_later(DOMAIN, "STORAGE_UNAVAILABLE", Duration::from_millis(500), "storage is unavailable")
        }
        db::Error::Duplicate(_)
        | db::Error::NewerSchema { .. }
        | db::Error::ChangedMigration { .. }
        | db::Error::Decode(_)
        | db::Error::Engine(_) => status(Code::Internal, "STORAGE", DOMAIN, text, []),
    }
}
