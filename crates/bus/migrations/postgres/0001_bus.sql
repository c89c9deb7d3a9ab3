-- What happened, kept by its owner. One row per version of an aggregate.
CREATE TABLE events (
    aggregate      UUID   NOT NULL,
    sequence       BIGINT NOT NULL CHECK (sequence > 0),
    event_id       UUID   NOT NULL,
    topic          TEXT   NOT NULL,
    aggregate_type TEXT   NOT NULL,
    event_type     TEXT   NOT NULL,
    payload        BYTEA  NOT NULL CHECK (length(payload) <= 1310720),
    occurred_at    BIGINT NOT NULL,
    actor          TEXT   NOT NULL,
    traceparent    TEXT,
    PRIMARY KEY (aggregate, sequence)
);
CREATE INDEX events_occurred_at ON events (occurred_at);

-- Events not yet acknowledged by the transport. The id is drawn after the lock on the aggregate is held, so that
-- per aggregate id order is commit order: never draw ids in advance, never raise the sequence's cache. queued_at is
-- business time: when the event happened, or when it was queued once more.
CREATE TABLE outbox (
    id        BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    aggregate UUID   NOT NULL,
    sequence  BIGINT NOT NULL,
    queued_at BIGINT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Requests already answered: scope is who asked for what.
CREATE TABLE inbox (
    scope      TEXT   NOT NULL COLLATE "C",
    request_id UUID   NOT NULL,
    body_hash  BYTEA  NOT NULL,
    reply      BYTEA,
    claimed_at BIGINT NOT NULL,
    PRIMARY KEY (scope, request_id)
);
CREATE INDEX inbox_claimed_at ON inbox (claimed_at);

-- How far each consumer has applied each aggregate. Blocked while events of it are parked.
CREATE TABLE applied (
    consumer  TEXT    NOT NULL COLLATE "C",
    topic     TEXT    NOT NULL COLLATE "C",
    aggregate UUID    NOT NULL,
    sequence  BIGINT  NOT NULL,
    blocked   BOOLEAN NOT NULL,
    PRIMARY KEY (consumer, topic, aggregate)
);

-- Up to when each consumer has compared what it has with what the owners have, in business time.
CREATE TABLE comparisons (
    consumer       TEXT   NOT NULL COLLATE "C",
    topic          TEXT   NOT NULL COLLATE "C",
    compared_until BIGINT NOT NULL,
    PRIMARY KEY (consumer, topic)
);

-- How far each consumer has read the log of a broker: what a log that was cut or made again is recognized by. youngest
-- is the broker's time of the youngest record before next_offset, in milliseconds.
CREATE TABLE log_positions (
    consumer    TEXT   NOT NULL COLLATE "C",
    topic       TEXT   NOT NULL COLLATE "C",
    partition   BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    youngest    BIGINT NOT NULL,
    PRIMARY KEY (consumer, topic, partition)
);

-- The transport that this database was used with last.
CREATE TABLE transport (
    id     BIGINT PRIMARY KEY CHECK (id = 1),
    kind   TEXT   NOT NULL COLLATE "C",
    prefix TEXT   NOT NULL COLLATE "C"
);

-- Events that a consumer could not apply, and those of the same aggregate that wait behind them.
CREATE TABLE parked (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer       TEXT   NOT NULL COLLATE "C",
    aggregate      UUID   NOT NULL,
    sequence       BIGINT NOT NULL,
    event_id       UUID   NOT NULL,
    topic          TEXT   NOT NULL,
    aggregate_type TEXT   NOT NULL,
    event_type     TEXT   NOT NULL,
    payload        BYTEA  NOT NULL,
    occurred_at    BIGINT NOT NULL,
    actor          TEXT   NOT NULL,
    traceparent    TEXT,
    reason         TEXT   NOT NULL CHECK (reason IN ('HANDLER', 'GAP', 'BEHIND')),
    error          TEXT   NOT NULL,
    attempts       BIGINT NOT NULL,
    parked_at      BIGINT NOT NULL,
    retry_at       BIGINT,
    UNIQUE (consumer, topic, aggregate, sequence)
);
CREATE INDEX parked_retry_at ON parked (consumer, retry_at) WHERE retry_at IS NOT NULL;
CREATE INDEX parked_by_consumer ON parked (consumer, id);
CREATE INDEX parked_heads ON parked (consumer, id) WHERE reason <> 'BEHIND';

-- Who decided what about a parked event.
CREATE TABLE parked_actions (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer  TEXT   NOT NULL,
    aggregate UUID   NOT NULL,
    sequence  BIGINT NOT NULL,
    event_id  UUID   NOT NULL,
    action    TEXT   NOT NULL CHECK (action IN ('RETRY', 'SKIP', 'ACCEPT_GAP')),
    actor     TEXT   NOT NULL,
    note      TEXT   NOT NULL,
    error     TEXT   NOT NULL,
    at        BIGINT NOT NULL
);

-- Who may run a relay or a sweeper. until_at is wall time.
CREATE TABLE leases (
    name     TEXT   NOT NULL PRIMARY KEY,
    holder   TEXT   NOT NULL,
    epoch    BIGINT NOT NULL,
    until_at BIGINT NOT NULL
);
