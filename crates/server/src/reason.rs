//! Why calls are refused: the reasons in `ErrorInfo`, each defined once, with what a caller does about it.
//!
//! A service declares its own with [`reasons!`](crate::reasons); every status is built from one of them, and
//! `entrepot errors` prints them all.

use std::fmt;

use tonic::Code;

/// One reason: programs read its name and code, people the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// `UPPER_SNAKE`; never changes.
    pub name: &'static str,
    /// The gRPC code that it comes with.
    pub code: Code,
    /// Whether the same call may succeed later.
    pub retry: Retry,
    /// When a call is refused with it.
    pub when: &'static str,
    /// What the caller does about it.
    pub action: &'static str,
}

/// Whether to send the same call again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The answer stays the same until the request or the state changes.
    No,
    /// Yes, with the same `request_id`: after the delay in `RetryInfo` where there is one.
    Later,
    /// Yes, after the current state was read.
    Reread,
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::Later => "yes, later",
            Self::Reread => "yes, after reading again",
        })
    }
}

/// The name of a code as gRPC writes it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Declares reasons as constants, and `ALL` of them: `NAME: Code, Retry, "when", "what to do";`.
#[macro_export]
macro_rules! reasons {
    ($($name:ident: $code:ident, $retry:ident, $when:literal, $action:literal;)+) => {
        $(
            #[doc = $when]
            pub const $name: $crate::Reason = $crate::Reason {
                name: stringify!($name),
                code: ::tonic::Code::$code,
                retry: $crate::reason::Retry::$retry,
                when: $when,
                action: $action,
            };
        )+
        /// Every reason declared here.
        pub const ALL: &[$crate::Reason] = &[$($name),+];
    };
}

reasons! {
    INVALID_REQUEST: InvalidArgument, No, "fields of the request are missing or not valid",
        "correct the fields that BadRequest names";
    REQUEST_UNREADABLE: InvalidArgument, No, "the message is not the protobuf message of this method, or is malformed",
        "encode the message with the protos of this version";
    TIMEOUT_MALFORMED: InvalidArgument, No, "the header grpc-timeout is malformed",
        "send 1 to 8 digits and one of H M S m u n";
    MESSAGE_TOO_LARGE: ResourceExhausted, No, "the message exceeds the limit of its method",
        "split the request";
    ACTOR_MALFORMED: Unauthenticated, No, "the metadata x-entrepot-actor is not kind/id",
        "send for example store/SH-001";
    CALLER_NOT_ALLOWED: PermissionDenied, No, "callers of this kind may not call the method",
        "call as another kind of actor";
    HOST_NOT_SERVED: PermissionDenied, No, "the host of the call is none of server.hosts",
        "call by a host name of that setting";
    METHOD_NOT_SERVED: Unimplemented, No, "this process does not serve the method",
        "check the method name and the address";
    NOT_IMPLEMENTED: Unimplemented, No, "the transport does not support the call, for example its compression",
        "use gzip or no compression";
    DEADLINE_EXCEEDED: DeadlineExceeded, Later,
        "the deadline passed before the answer; whether the call took effect is unknown",
        "send it again with the same request_id";
    CALLER_GONE: Cancelled, Later, "the caller closed the connection or cancelled the call",
        "send it again with the same request_id";
    OVERLOADED: ResourceExhausted, Later, "the process has too much work",
        "wait for RetryInfo, then send it again";
    SHUTTING_DOWN: Unavailable, Later, "the process is stopping",
        "send it again: another process, or the next one, answers";
    PEER_UNREACHABLE: Unavailable, Later, "another service that is needed for the call does not answer",
        "send it again with the same request_id";
    PEER_FAILED: Unavailable, Later, "another service that is needed for the call failed",
        "send it again with the same request_id";
    TRANSPORT: Unavailable, Later, "the transport failed; the code is the one that it reported",
        "send it again with the same request_id";
    HANDLER_PANICKED: Internal, No, "a fault of the program; the log has the details",
        "report it with the time of the call";
}
