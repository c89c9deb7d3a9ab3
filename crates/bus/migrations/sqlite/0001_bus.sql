-- What happened, kept by its owner. One row per version of an aggregate.
CREATE TABLE events (
    aggregate      BLOB    NOT NULL,
    sequence       INTEGER NOT NULL CHECK (sequence > 0),
    event_id       BLOB    NOT NULL,
    topic          TEXT    NOT NULL,
    aggregate_type TEXT    NOT NULL,
    event_type     TEXT    NOT NULL,
    payload        BLOB    NOT NULL CHECK (length(payload) <= 1310720),
    occurred_at    INTEGER NOT NULL,
    actor          TEXT    NOT NULL,
    traceparent    TEXT,
    PRIMARY KEY (aggregate, sequence)
) STRICT;
CREATE INDEX events_occurred_at ON events (occurred_at);

-- Events not yet acknowledged by the transport. AUTOINCREMENT: an id must not be used twice after a delete. queued_at
-- is business time: when the event happened, or when it was queued once more.
CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    aggregate BLOB    NOT NULL,
    sequence  INTEGER NOT NULL,
    queued_at INTEGER NOT NULL
) STRICT;

-- Requests already answered: scope is who asked for what.
CREATE TABLE inbox (
    scope      TEXT    NOT NULL,
    request_id BLOB    NOT NULL,
    body_hash  BLOB    NOT NULL,
    reply      BLOB,
    claimed_at INTEGER NOT NULL,
    PRIMARY KEY (scope, request_id)
) STRICT;
CREATE INDEX inbox_claimed_at ON inbox (claimed_at);

-- How far each consumer has applied each aggregate. Blocked while events of it are parked.
CREATE TABLE applied (
    consumer  TEXT    NOT NULL,
    topic     TEXT    NOT NULL,
    aggregate BLOB    NOT NULL,
    sequence  INTEGER NOT NULL,
    blocked   INTEGER NOT NULL,
    PRIMARY KEY (consumer, topic, aggregate)
) STRICT, WITHOUT ROWID;

-- Up to when each consumer has compared what it has with what the owners have, in business time.
CREATE TABLE comparisons (
    consumer       TEXT    NOT NULL,
    topic          TEXT    NOT NULL,
    compared_until INTEGER NOT NULL,
    PRIMARY KEY (consumer, topic)
) STRICT, WITHOUT ROWID;

-- How far each consumer has read the log of a broker: what a log that was cut or made again is recognized by. youngest
-- is the broker's time of the youngest record before next_offset, in milliseconds.
CREATE TABLE log_positions (
    consumer    TEXT    NOT NULL,
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    youngest    INTEGER NOT NULL,
    PRIMARY KEY (consumer, topic, partition)
) STRICT, WITHOUT ROWID;

-- The transport that this database was used with last.
CREATE TABLE transport (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    kind   TEXT    NOT NULL,
    prefix TEXT    NOT NULL
) STRICT;

-- Events that a consumer could not apply, and those of the same aggregate that wait behind them.
CREATE TABLE parked (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer       TEXT    NOT NULL,
    aggregate      BLOB    NOT NULL,
    sequence       INTEGER NOT NULL,
    event_id       BLOB    NOT NULL,
    topic          TEXT    NOT NULL,
    aggregate_type TEXT    NOT NULL,
    event_type     TEXT    NOT NULL,
    payload        BLOB    NOT NULL,
    occurred_at    INTEGER NOT NULL,
    actor          TEXT    NOT NULL,
    traceparent    TEXT,
    reason         TEXT    NOT NULL CHECK (reason IN ('HANDLER', 'GAP', 'BEHIND')),
    error          TEXT    NOT NULL,
    attempts       INTEGER NOT NULL,
    parked_at      INTEGER NOT NULL,
    retry_at       INTEGER,
    UNIQUE (consumer, topic, aggregate, sequence)
) STRICT;
CREATE INDEX parked_retry_at ON parked (consumer, retry_at) WHERE retry_at IS NOT NULL;
CREATE INDEX parked_by_consumer ON parked (consumer, id);
CREATE INDEX parked_heads ON parked (consumer, id) WHERE reason <> 'BEHIND';

-- Who decided what about a parked event.
CREATE TABLE parked_actions (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer  TEXT    NOT NULL,
    aggregate BLOB    NOT NULL,
    sequence  INTEGER NOT NULL,
    event_id  BLOB    NOT NULL,
    action    TEXT    NOT NULL CHECK (action IN ('RETRY', 'SKIP', 'ACCEPT_GAP')),
    actor     TEXT    NOT NULL,
    note      TEXT    NOT NULL,
    error     TEXT    NOT NULL,
    at        INTEGER NOT NULL
) STRICT;

-- Who may run a relay or a sweeper. until_at is wall time.
CREATE TABLE leases (
    name     TEXT    NOT NULL PRIMARY KEY,
    holder   TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    until_at INTEGER NOT NULL
) STRICT;
