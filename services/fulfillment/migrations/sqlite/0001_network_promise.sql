-- Nodes, the capacity they have given away, promise tokens, and calls to make later.

CREATE TABLE nodes (
    node_id    TEXT NOT NULL PRIMARY KEY,
    version    INTEGER NOT NULL CHECK (version >= 1),
    body       BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX nodes_updated_at ON nodes (updated_at, node_id);

-- Nodes that let offers run out one after another: how many since they last answered, and until when they get no promises.
CREATE TABLE node_silence (
    node_id      TEXT NOT NULL PRIMARY KEY,
    run_out      INTEGER NOT NULL CHECK (run_out >= 0),
    silent_until INTEGER,
    updated_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX node_silence_updated_at ON node_silence (updated_at, node_id);

CREATE TABLE capacity_slots (
    kind       TEXT   NOT NULL, -- NODE, ZONE, COURIERS, SKILL
    resource   TEXT   NOT NULL,
    work       TEXT   NOT NULL,
    slot_start INTEGER NOT NULL,
    used       INTEGER NOT NULL CHECK (used >= 0),
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, resource, work, slot_start)
) STRICT;
CREATE INDEX capacity_slots_updated_at ON capacity_slots (updated_at, kind, resource, work, slot_start);
CREATE INDEX capacity_slots_start ON capacity_slots (slot_start);

-- A token groups legs under one clock. `body` is an encoded Promise: the cart.
CREATE TABLE promises (
    token       BLOB NOT NULL PRIMARY KEY,
    request_key BLOB NOT NULL UNIQUE,
    body_hash   BLOB NOT NULL,
    owner       TEXT NOT NULL,
    state       TEXT NOT NULL,
    version     INTEGER NOT NULL CHECK (version >= 1),
    body        BLOB NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    holder      TEXT NOT NULL, -- the owner, or for whom a service holds it
    counted_for TEXT, -- whose hold_counts it is in
    channel     TEXT, -- that its cart is sold through
    order_id    BLOB
) STRICT;
CREATE INDEX promises_due ON promises (expires_at) WHERE state IN ('PENDING', 'LIVE');
CREATE INDEX promises_ended ON promises (expires_at) WHERE state IN ('RELEASED', 'EXPIRED');
CREATE INDEX promises_order ON promises (order_id) WHERE order_id IS NOT NULL;

-- What the callers that have a quota hold: the tokens in promises that are counted. sku '' is all of a caller's.
CREATE TABLE hold_counts (
    owner      TEXT NOT NULL,
    sku        TEXT NOT NULL,
    tokens     INTEGER NOT NULL CHECK (tokens >= 0),
    units      INTEGER NOT NULL CHECK (units >= 0),
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (owner, sku)
) STRICT;
CREATE INDEX hold_counts_idle ON hold_counts (updated_at) WHERE tokens = 0;

-- One node, method and window. The reservation and the decision have the same uuid.
CREATE TABLE promise_legs (
    fulfillment_id BLOB   NOT NULL PRIMARY KEY,
    token          BLOB   NOT NULL REFERENCES promises (token) ON DELETE CASCADE,
    leg_no         INTEGER NOT NULL,
    group_no       INTEGER NOT NULL,
    method         TEXT   NOT NULL,
    node_id        TEXT   NOT NULL,
    ready_at       INTEGER NOT NULL,
    keep_until     INTEGER NOT NULL,
    is_given_up    INTEGER NOT NULL, -- by its order, before a node had it
    body           BLOB  NOT NULL, -- an encoded PromiseLeg: option and lines
    decision       BLOB  NOT NULL, -- an encoded SourcingDecision
    UNIQUE (token, leg_no)
) STRICT;

-- Capacity that a leg takes.
CREATE TABLE promise_places (
    fulfillment_id BLOB    NOT NULL REFERENCES promise_legs (fulfillment_id) ON DELETE CASCADE,
    place_no       INTEGER  NOT NULL,
    kind           TEXT    NOT NULL,
    resource       TEXT    NOT NULL,
    work           TEXT    NOT NULL,
    slot_start     INTEGER  NOT NULL,
    amount         INTEGER  NOT NULL CHECK (amount >= 1),
    is_held        INTEGER NOT NULL,
    PRIMARY KEY (fulfillment_id, place_no)
) STRICT;

CREATE TABLE tasks (
    task_id    BLOB NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL,
    subject    BLOB NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    last_error TEXT
) STRICT;
CREATE INDEX tasks_due ON tasks (due_at);
