//! What can go wrong, and the one place where it becomes a gRPC status.

use std::time::Duration;

use contract::fulfillment::v1::PromiseState;
use domain::id::{NeedId, OptionId, OrderId, PromiseToken};
use domain::order::Refusal;
use domain::time::Timestamp;
use domain::words;
use server::{Violation, retry_later, status};
use service::Fault;
use tonic::{Code, Status};

/// The domain of our errors.
pub const DOMAIN: &str = "orders.entrepot";

/// The reasons that calls of orders can be refused with, besides those of every service.
pub mod reason {
    server::reasons! {
        ORDER_NOT_FOUND: NotFound, No, "no order has this id, or this number of the channel",
            "check the id, or channel and channel_order_id";
        NOT_YOUR_MONEY: PermissionDenied, No, "a store reports the payment of an order that it does not hand over against payment, or a channel that of an order of another one",
            "payments of other orders are reported by their channel or provider";
        STAFF_NOT_NAMED: PermissionDenied, No, "a member of staff must answer for it, and none is named",
            "name one in the header x-entrepot-staff";
        CHANNEL_ORDER_ID_TAKEN: AlreadyExists, No, "the channel used this channel_order_id for another order",
            "read that order, or send a new channel_order_id";
        PROMISE_TAKEN: FailedPrecondition, No, "the promise token belongs to another order",
            "hold a new promise";
        LATER_THAN_WANTED: FailedPrecondition, No, "the goods can be ready only after not_later_than_time",
            "ask for other nodes or methods, or place it with a later not_later_than_time";
        PROMISE_NOT_LIVE: FailedPrecondition, No, "the promise has ended",
            "hold a new promise";
        PROMISE_PENDING: Aborted, Later, "the promise is still being made",
            "send it again";
        NOT_HELD: Aborted, No, "every hold that was made for this request ended before it was used",
            "send it again with a new request_id";
        ORDER_CHANGED: Aborted, Reread, "the order changed while the call was worked on",
            "read the order and decide again";
        ORDER_OVER: FailedPrecondition, No, "the order is completed, cancelled or expired",
            "read the order";
        UNKNOWN_LINE: FailedPrecondition, No, "the order has no line of this number",
            "read the order's lines";
        NOT_CANCELLABLE: FailedPrecondition, Reread, "fewer units can be cancelled than asked",
            "cancel at most the fact `left`";
        NOTHING_TO_CANCEL: FailedPrecondition, No, "no unit of the order can be cancelled",
            "read the order";
        AMOUNT_DIFFERS: FailedPrecondition, No, "the amount paid differs from the tender's",
            "pay the amount due";
        TENDER_STATE: FailedPrecondition, No, "the tender's state does not allow the new one",
            "read the order's tenders";
        NOTHING_TO_REPLACE: FailedPrecondition, No, "the new tender is more than failed and voided tenders have due and no tender pays",
            "read amount_due of the order's tenders";
        CLAIM_TOO_LARGE: FailedPrecondition, Reread, "less is left of the price of a piece than is claimed",
            "claim at most the fact `left_minor`";
        REFUND_STATE: FailedPrecondition, No, "the refund's state does not allow the new one",
            "read the parts of the order's refunds";
        OPTION_NOT_FOUND: NotFound, No, "the order was never offered this option",
            "read ListOptions";
        OPTION_GONE: FailedPrecondition, No, "the option cannot be had any more",
            "choose from ListOptions, which has others";
        NEED_OVER: FailedPrecondition, No, "the pieces that were looked for have new legs or were cancelled",
            "read the order's needs";
        ORDER_BLOCKED: FailedPrecondition, Later, "the order waits for something else first",
            "read the order's blocks";
        OTHER_RESERVATION: FailedPrecondition, No, "the stock of another reservation was confirmed for the order",
            "read the order";
        ALREADY_CONFIRMED: FailedPrecondition, No, "the order is confirmed already",
            "read the order";
        NOT_DUE: FailedPrecondition, No, "the order is not due for this step",
            "read the order";
        OTHER_FULFILLMENT: FailedPrecondition, No, "the order has another fulfillment order",
            "read the order";
        BAD_SNAPSHOT: FailedPrecondition, No, "the reported quantities do not fit the order",
            "report it: two services disagree";
    }
}

/// What can go wrong, by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
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
    /// A store reports money that is not paid at its own handover.
    #[error("a store reports only what is paid at its own handover")]
    NotYourMoney,
    /// A channel reports or adds a payment of an order of another one.
    #[error("a channel reports and adds payments of its own orders alone")]
    NotYourOrder,
    /// A group can be ready only later than it may be.
    #[error("group {group} can be ready at {ready}, which is after {limit}")]
    LaterThanWanted {
        /// The group.
        group: u32,
        /// When it can be ready.
        ready: Timestamp,
        /// When it had to be.
        limit: Timestamp,
    },
    /// A member of staff must answer for it, and none is named.
    #[error("a member of staff must answer for it: name one in the header {}", server::auth::STAFF)]
    NoStaff,
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
    #[error("the stock could not be held; send it again with a new request_id")]
    NotHeld,
    /// The order was never offered this option.
    #[error("the order was never offered {0}; read ListOptions")]
    OptionNotFound(OptionId),
    /// What was offered cannot be had any more.
    #[error("the option cannot be had any more ({}); choose from ListOptions, which has others", words::plain(.reason))]
    OptionGone {
        /// The need that it was a way out of.
        need: NeedId,
        /// Why, `UPPER_SNAKE`.
        reason: String,
    },
    /// A rule says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The order changed while the peers were asked.
    #[error("the order changed meanwhile; read it and decide again")]
    ChangedMeanwhile,
    /// Another service said no, or could not be reached.
    #[error("{}", .0.message())]
    Peer(Box<Status>),
    /// What can go wrong in any service.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Error {
    /// One bad field.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Fault::field(field, description).into()
    }

    /// What another service answered.
    pub(crate) fn peer(answer: Status) -> Self {
        Self::Peer(Box::new(answer))
    }
}

service::faults!(Error);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let plain = |reason| status(reason, DOMAIN, text.clone(), []);
        let known = |reason, facts: Vec<(&str, String)>| {
            let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value));
            status(reason, DOMAIN, text.clone(), facts)
        };
        match error {
            Error::NotFound(order) => known(reason::ORDER_NOT_FOUND, vec![("order_id", order)]),
            Error::NumberNotFound { channel, number } => {
                let facts = vec![("channel", channel), ("channel_order_id", number)];
                known(reason::ORDER_NOT_FOUND, facts)
            }
            Error::NotYourMoney | Error::NotYourOrder => plain(reason::NOT_YOUR_MONEY),
            Error::NoStaff => plain(reason::STAFF_NOT_NAMED),
            Error::ChannelIdTaken(order) => {
                known(reason::CHANNEL_ORDER_ID_TAKEN, vec![("order_id", order.to_string())])
            }
            Error::PromiseTaken => plain(reason::PROMISE_TAKEN),
            Error::PromiseNotLive { token, state } => {
                let facts =
                    vec![("promise_token", token.to_string()), ("state", state_name(state).to_owned())];
                let reason = match state {
                    PromiseState::Pending => reason::PROMISE_PENDING,
                    PromiseState::Unspecified
                    | PromiseState::Live
                    | PromiseState::Confirmed
                    | PromiseState::Released
                    | PromiseState::Expired => reason::PROMISE_NOT_LIVE,
                };
                known(reason, facts)
            }
            Error::LaterThanWanted { group, ready, limit } => {
                let facts = vec![
                    ("group", group.to_string()),
                    ("ready_time", ready.to_string()),
                    ("not_later_than_time", limit.to_string()),
                ];
                known(reason::LATER_THAN_WANTED, facts)
            }
            Error::NotHeld => plain(reason::NOT_HELD),
            Error::OptionNotFound(option) => {
                known(reason::OPTION_NOT_FOUND, vec![("option_id", option.to_string())])
            }
            Error::OptionGone { need, reason } => {
                known(reason::OPTION_GONE, vec![("need_id", need.to_string()), ("reason", reason)])
            }
            Error::Refused(refusal) => refused(&refusal),
            Error::ChangedMeanwhile => plain(reason::ORDER_CHANGED),
            Error::Peer(answer) => passed_on(&answer),
            Error::Fault(fault) => fault.status(DOMAIN),
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
        PromiseState::Pending => "the promise is still being made; send it again".to_owned(),
        PromiseState::Unspecified
        | PromiseState::Live
        | PromiseState::Confirmed
        | PromiseState::Released
        | PromiseState::Expired => {
            format!("the promise has ended ({}); hold a new one", words::plain(state_name(state)))
        }
    }
}

/// The reason of each refusal, and what the caller may want to know.
fn refused(refusal: &Refusal) -> Status {
    let of_field = |field: &str| server::invalid(DOMAIN, vec![Violation::new(field, refusal.to_string())]);
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    let reason = match refusal {
        Refusal::Over { status, .. } => {
            fact("status", status.name().to_owned());
            reason::ORDER_OVER
        }
        Refusal::UnknownLine { .. } => reason::UNKNOWN_LINE,
        Refusal::NotCancellable { asked, left, .. } => {
            fact("asked", asked.to_string());
            fact("left", left.to_string());
            reason::NOT_CANCELLABLE
        }
        Refusal::NothingToCancel => reason::NOTHING_TO_CANCEL,
        Refusal::AmountDiffers { due, given, .. } => {
            fact("due_minor", due.minor.to_string());
            fact("given_minor", given.minor.to_string());
            reason::AMOUNT_DIFFERS
        }
        Refusal::TenderState { from, to, .. } => {
            fact("from", from.to_string());
            fact("to", to.to_string());
            reason::TENDER_STATE
        }
        Refusal::NothingToReplace { .. } => reason::NOTHING_TO_REPLACE,
        Refusal::ClaimTooLarge { piece, left, .. } => {
            fact("piece", piece.to_string());
            fact("left_minor", left.minor.to_string());
            reason::CLAIM_TOO_LARGE
        }
        Refusal::RefundState { from, to, .. } => {
            fact("from", from.to_string());
            fact("to", to.to_string());
            reason::REFUND_STATE
        }
        Refusal::NeedOver { need, state } => {
            fact("need_id", need.to_string());
            fact("state", state.name().to_owned());
            reason::NEED_OVER
        }
        Refusal::Blocked { block, .. } => {
            fact("block", block.name().to_owned());
            reason::ORDER_BLOCKED
        }
        Refusal::UnknownTender { .. } | Refusal::TenderTaken { .. } => return of_field("tender_id"),
        Refusal::UnknownPiece { .. } => return of_field("claims.piece"),
        Refusal::UnknownPart { .. } | Refusal::PartNotNamed { .. } => return of_field("provider_ref"),
        Refusal::UnknownAttempt { .. } => return of_field("attempt"),
        Refusal::UnknownRefund { .. } => return of_field("refund_id"),
        Refusal::NeedsHold | Refusal::UnknownNeed { .. } | Refusal::OtherPieces { .. } => {
            reason::ORDER_CHANGED
        }
        Refusal::OtherReservation => reason::OTHER_RESERVATION,
        Refusal::AlreadyConfirmed => reason::ALREADY_CONFIRMED,
        Refusal::NotDue => reason::NOT_DUE,
        Refusal::OtherFulfillment { .. } => reason::OTHER_FULFILLMENT,
        Refusal::BadSnapshot { .. } => reason::BAD_SNAPSHOT,
    };
    if let Some(line) = refusal.line() {
        fact("line", line.to_string());
    }
    status(reason, DOMAIN, refusal.to_string(), facts)
}

/// The answer of another service, passed on unchanged: its reason and its facts name what the caller can change. A
/// fault of its own becomes `PEER_FAILED`.
fn passed_on(answer: &Status) -> Status {
    match answer.code() {
        Code::Internal | Code::Unknown | Code::Unimplemented | Code::DataLoss | Code::Unauthenticated => {
            tracing::error!(code = ?answer.code(), message = answer.message(), "another service failed");
            let delay = Duration::from_secs(1);
            retry_later(server::reason::PEER_FAILED, DOMAIN, delay, "another service failed; send it again")
        }
        code => Status::with_details(code, answer.message(), bytes::Bytes::copy_from_slice(answer.details())),
    }
}
