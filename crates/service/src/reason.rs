//! The reasons that calls of every service can be refused with.

server::reasons! {
    REQUEST_ID_REUSED: InvalidArgument, No, "the request_id was used before with another body",
        "send a new request_id";
    REQUEST_IN_PROGRESS: Unavailable, Later, "the same request is being worked on",
        "send it again with the same request_id";
    QUEUE_FULL: ResourceExhausted, Later, "more calls of this kind wait than the setting allows",
        "wait for RetryInfo, then send it again";
    TOO_MANY_STREAMS: ResourceExhausted, Later, "more streams of this kind are open than the setting allows",
        "close streams that are not needed, or open it later";
    INTERRUPTED: Unavailable, Later, "the work was interrupted; whether it took effect is unknown",
        "send it again with the same request_id";
    CONTENDED: Unavailable, Later, "other transactions were in the way at each attempt",
        "send it again with the same request_id";
    STORAGE_UNAVAILABLE: Unavailable, Later, "the database does not answer, or is out of connections, time or space",
        "send it again with the same request_id";
    STORAGE: Internal, No, "a statement failed; the log has the details",
        "report it with the time of the call";
    UNREADABLE: Internal, No, "something stored or received is not readable; the log has the details",
        "report it with the time of the call";
    BUS: Internal, No, "an event could not be appended; the log has the details",
        "report it with the time of the call";
}
