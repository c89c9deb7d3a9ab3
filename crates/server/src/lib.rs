//! What a gRPC process needs around its handlers.
//!
//! Owns the listener and its connections, deadlines, limits, who is calling and what they may call, the shape of
//! errors, health, reflection, the admin port, logs, background tasks and the order of a shutdown. Knows no service
//! and no table of ours: the binary hands in routes, rows of the role table and readiness checks.
//!
//! Always true: a handler that began runs to its end, whatever becomes of its caller, until the hard limit of a
//! shutdown (one that only reads ends with its caller); a call takes a place among those that run when its message is
//! there; every error that leaves has an `ErrorInfo`; a method without a row in the role table is not served; how many
//! calls run follows their latency, and a call that cannot be answered by its deadline is refused unread.
//! Absent on purpose: TLS (a proxy's job in this version), authentication (the caller's word is taken, see
//! [`auth`]), rate limits per caller.

pub mod admin;
mod arrive;
pub mod auth;
mod body;
mod breaker;
mod call;
mod connection;
mod deadline;
pub mod door;
mod driven;
mod front;
mod gate;
pub mod listen;
pub mod methods;
mod pace;
pub mod peer;
mod places;
pub mod reason;
mod room;
mod shed;
pub mod shutdown;
pub mod status;
pub mod task;
pub mod telemetry;
pub mod trace;
mod unread;
mod weigh;

pub use auth::{Access, Principal};
pub use connection::StreamReads;
pub use deadline::Deadline;
pub use door::Door;
pub use driven::{Driven, driven};
pub use front::Hosts;
pub use peer::Peer;
pub use places::{StreamPlace, StreamPlaces};
pub use reason::Reason;
pub use shutdown::Shutdown;
pub use status::{Violation, invalid, retry_later, status};
pub use unread::UnreadLimits;

/// The largest request message that a service reads, in bytes: an order of 1,000 lines with the longest texts fits.
pub const MESSAGE_LIMIT: usize = 1_280 * 1024;

/// Sets the limits and compression that each generated server of ours has:
/// `server::limited!(OrdersServiceServer::from_arc(orders))`.
#[macro_export]
macro_rules! limited {
    ($server:expr) => {
        $server
            .max_decoding_message_size($crate::MESSAGE_LIMIT)
            .accept_compressed($crate::GZIP)
            .send_compressed($crate::GZIP)
    };
}

/// The one compression that services speak.
pub const GZIP: tonic::codec::CompressionEncoding = tonic::codec::CompressionEncoding::Gzip;
