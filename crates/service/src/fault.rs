//! What can go wrong in any service, and the one place where it becomes a status.

use std::time::Duration;

use bus::HandleError;
use clock::Clock;
use domain::id::Uuid;
use server::{Reason, Violation, retry_later, status};
use tonic::Status;

use crate::outage::Outage;
use crate::reason;

/// Named by what the caller can do about it. `Clone`, because a batch answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// Fields that are missing or not valid, all of them.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// The request id was used with another body.
    #[error("request_id {0} was already used with another body")]
    RequestIdReused(Uuid),
    /// The same request is in flight.
    #[error("request_id {0} is in progress; send it again later")]
    InProgress(Uuid),
    /// A queue is full.
    #[error("too many requests are waiting, try again")]
    QueueFull,
    /// Too many streams are open.
    #[error("too many streams are open, try again")]
    TooManyStreams,
    /// The work was interrupted: the same request again shows whether it was done.
    #[error("interrupted; send it again with the same request_id")]
    Interrupted,
    /// The process stops.
    #[error("the service is stopping")]
    Stopping,
    /// Another transaction wrote what this one took for unwritten: repeat it.
    #[error("another transaction was faster, repeat this one")]
    Raced,
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

impl Fault {
    /// One bad field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, description)])
    }

    /// Something that can't be read.
    pub fn unreadable(what: impl std::fmt::Display) -> Self {
        Self::Unreadable(what.to_string())
    }

    /// Whether the whole transaction may succeed when it is repeated.
    pub fn is_retry(&self) -> bool {
        match self {
            Self::Raced | Self::InProgress(_) => true,
            Self::Db(error) => error.is_retry(),
            Self::Bus(error) => error.is_retry(),
            Self::Invalid(_)
            | Self::RequestIdReused(_)
            | Self::QueueFull
            | Self::TooManyStreams
            | Self::Interrupted
            | Self::Stopping
            | Self::Unreadable(_) => false,
        }
    }

    /// Whether nothing is wrong with what was asked: the database or the broker is away, too slow or locked by others.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Db(error) => error.is_outage(),
            Self::Bus(error) => error.is_outage(),
            Self::Invalid(_)
            | Self::RequestIdReused(_)
            | Self::InProgress(_)
            | Self::QueueFull
            | Self::TooManyStreams
            | Self::Interrupted
            | Self::Stopping
            | Self::Raced
            | Self::Unreadable(_) => false,
        }
    }

    /// The status, in the error domain of a service.
    pub fn status(self, domain: &str) -> Status {
        let text = self.to_string();
        let ms = Duration::from_millis;
        let later = |reason, delay, text: &str| retry_later(reason, domain, delay, text);
        match self {
            Self::Invalid(violations) => server::invalid(domain, violations),
            Self::RequestIdReused(id) => {
                let facts = [("request_id".to_owned(), id.to_string())];
                status(reason::REQUEST_ID_REUSED, domain, text, facts)
            }
            Self::InProgress(_) => later(reason::REQUEST_IN_PROGRESS, ms(100), &text),
            Self::QueueFull => later(reason::QUEUE_FULL, ms(100), &text),
            Self::TooManyStreams => later(reason::TOO_MANY_STREAMS, ms(5_000), &text),
            Self::Interrupted => later(reason::INTERRUPTED, ms(100), &text),
            Self::Stopping => later(server::reason::SHUTTING_DOWN, ms(1_000), &text),
            Self::Raced | Self::Db(db::Error::Retry(_)) => {
                later(reason::CONTENDED, ms(50), "storage is contended, try again")
            }
            Self::Db(db::Error::Unavailable(why)) => {
                storage_is_away(&why);
                later(reason::STORAGE_UNAVAILABLE, ms(500), "storage is unavailable")
            }
            Self::Unreadable(_) => internal(reason::UNREADABLE, domain, text),
            Self::Bus(_) => internal(reason::BUS, domain, text),
            Self::Db(_) => internal(reason::STORAGE, domain, text),
        }
    }
}

fn internal(reason: Reason, domain: &str, text: String) -> Status {
    status(reason, domain, text, [])
}

fn storage_is_away(why: &str) {
    static OUTAGE: Outage = Outage::new();
    if let Some(calls) = OUTAGE.refused(Clock::system().wall()) {
        tracing::warn!(error = why, calls, "storage is unavailable");
    }
}

impl From<bus::Error> for Fault {
    fn from(error: bus::Error) -> Self {
        match error {
            bus::Error::Db(error) => Self::Db(error),
            bus::Error::RequestIdReused { request_id } => Self::RequestIdReused(request_id),
            bus::Error::Unsettled { request_id } => Self::InProgress(request_id),
            other => Self::Bus(other),
        }
    }
}

impl From<Fault> for HandleError {
    /// A database or a broker that is away comes back, and no human is needed.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Db(error) => error.into(),
            Fault::Bus(error) => error.into(),
            // The batch is repeated as a whole: no event is at fault.
            raced @ Fault::Raced => Self::outage(raced),
            flying @ Fault::InProgress(_) => Self::retry(flying),
            other => Self::poison(other),
        }
    }
}

/// What the error of a service has in common with all others. The enum has a variant `Fault(#[from] Fault)`.
#[macro_export]
macro_rules! faults {
    ($error:ident) => {
        impl From<::db::Error> for $error {
            fn from(error: ::db::Error) -> Self {
                Self::Fault($crate::Fault::from(error))
            }
        }

        impl From<::bus::Error> for $error {
            fn from(error: ::bus::Error) -> Self {
                Self::Fault($crate::Fault::from(error))
            }
        }

        impl From<$error> for ::bus::HandleError {
            fn from(error: $error) -> Self {
                match error {
                    $error::Fault(fault) => fault.into(),
                    other => Self::poison(other),
                }
            }
        }

        impl $error {
            /// Whether the whole transaction may succeed when it is repeated.
            pub(crate) fn is_retry(&self) -> bool {
                matches!(self, Self::Fault(fault) if fault.is_retry())
            }

            /// Whether nothing is wrong with what was asked: what it needs is away.
            pub(crate) fn is_outage(&self) -> bool {
                matches!(self, Self::Fault(fault) if fault.is_outage())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use bus::HandleErrorKind;
    use tonic::Code;

    use super::*;

    fn answer(fault: Fault) -> (Code, String) {
        let status = fault.status("test.entrepot");
        (status.code(), server::status::reason(&status).unwrap())
    }

    #[test]
    fn one_condition_has_one_reason_whoever_noticed() {
        let away = || db::Error::Unavailable("connection lost".to_owned());
        for fault in [Fault::from(away()), Fault::from(bus::Error::from(away()))] {
            assert!(fault.is_outage() && !fault.is_retry());
            let kind = HandleError::from(fault.clone()).kind;
            assert_eq!(kind, HandleErrorKind::Outage, "the event is applied when it is back");
            assert_eq!(answer(fault), (Code::Unavailable, "STORAGE_UNAVAILABLE".to_owned()));
        }
        let busy = || db::Error::Retry("deadlock".to_owned());
        for fault in [Fault::from(busy()), Fault::from(bus::Error::from(busy())), Fault::Raced] {
            assert!(fault.is_retry());
            assert_eq!(HandleError::from(fault.clone()).kind, HandleErrorKind::Outage);
            assert_eq!(answer(fault), (Code::Unavailable, "CONTENDED".to_owned()));
        }
        let id = Uuid::from_u128(7);
        let reused = Fault::from(bus::Error::RequestIdReused { request_id: id });
        assert_eq!(answer(reused), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
        let flying = Fault::from(bus::Error::Unsettled { request_id: id });
        assert_eq!(answer(flying), (Code::Unavailable, "REQUEST_IN_PROGRESS".to_owned()));
        assert_eq!(HandleError::from(Fault::unreadable("a row")).kind, HandleErrorKind::Poison);
        assert_eq!(answer(Fault::Stopping), (Code::Unavailable, "SHUTTING_DOWN".to_owned()));
    }
}
