-- Nodes, the capacity they have given away, promise tokens, and calls to make later.

CREATE TABLE nodes (
    node_id    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version    BIGINT NOT NULL CHECK (version >= 1),
    body       BYTEA NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX nodes_updated_at ON nodes (updated_at, node_id);

-- Nodes that let offers run out one after another: how many since they last answered, and until when they get no promises.
CREATE TABLE node_silence (
    node_id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    run_out      BIGINT NOT NULL CHECK (run_out >= 0),
    silent_until BIGINT,
    updated_at   BIGINT NOT NULL
);
CREATE INDEX node_silence_updated_at ON node_silence (updated_at, node_id);

CREATE TABLE capacity_slots (
    kind       TEXT   COLLATE "C" NOT NULL, -- NODE, ZONE, COURIERS, SKILL
    resource   TEXT   COLLATE "C" NOT NULL,
    work       TEXT   COLLATE "C" NOT NULL,
    slot_start BIGINT NOT NULL,
    used       BIGINT NOT NULL CHECK (used >= 0),
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (kind, resource, work, slot_start)
);
CREATE INDEX capacity_slots_updated_at ON capacity_slots (updated_at, kind, resource, work, slot_start);
CREATE INDEX capacity_slots_start ON capacity_slots (slot_start);

-- A token groups legs under one clock. `body` is an encoded Promise: the cart.
CREATE TABLE promises (
    token       UUID NOT NULL PRIMARY KEY,
    request_key UUID NOT NULL UNIQUE,
    body_hash   BYTEA NOT NULL,
    owner       TEXT NOT NULL,
    state       TEXT NOT NULL,
    version     BIGINT NOT NULL CHECK (version >= 1),
    body        BYTEA NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    holder      TEXT NOT NULL, -- the owner, or for whom a service holds it
    counted_for TEXT, -- whose hold_counts it is in
    channel     TEXT, -- that its cart is sold through
    order_id    UUID
);
CREATE INDEX promises_due ON promises (expires_at) WHERE state IN ('PENDING', 'LIVE');
CREATE INDEX promises_ended ON promises (expires_at) WHERE state IN ('RELEASED', 'EXPIRED');
CREATE INDEX promises_order ON promises (order_id) WHERE order_id IS NOT NULL;

-- What the callers that have a quota hold: the tokens in promises that are counted. sku '' is all of a caller's.
CREATE TABLE hold_counts (
    owner      TEXT COLLATE "C" NOT NULL,
    sku        TEXT COLLATE "C" NOT NULL,
    tokens     BIGINT NOT NULL CHECK (tokens >= 0),
    units      BIGINT NOT NULL CHECK (units >= 0),
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (owner, sku)
);
CREATE INDEX hold_counts_idle ON hold_counts (updated_at) WHERE tokens = 0;

-- One node, method and window. The reservation and the decision have the same uuid.
CREATE TABLE promise_legs (
    fulfillment_id UUID   NOT NULL PRIMARY KEY,
    token          UUID   NOT NULL REFERENCES promises (token) ON DELETE CASCADE,
    leg_no         BIGINT NOT NULL,
    group_no       BIGINT NOT NULL,
    method         TEXT   NOT NULL,
    node_id        TEXT   COLLATE "C" NOT NULL,
    ready_at       BIGINT NOT NULL,
    keep_until     BIGINT NOT NULL,
    is_given_up    BOOLEAN NOT NULL, -- by its order, before a node had it
    body           BYTEA  NOT NULL, -- an encoded PromiseLeg: option and lines
    decision       BYTEA  NOT NULL, -- an encoded SourcingDecision
    UNIQUE (token, leg_no)
);

-- Capacity that a leg takes.
CREATE TABLE promise_places (
    fulfillment_id UUID    NOT NULL REFERENCES promise_legs (fulfillment_id) ON DELETE CASCADE,
    place_no       BIGINT  NOT NULL,
    kind           TEXT    COLLATE "C" NOT NULL,
    resource       TEXT    COLLATE "C" NOT NULL,
    work           TEXT    COLLATE "C" NOT NULL,
    slot_start     BIGINT  NOT NULL,
    amount         BIGINT  NOT NULL CHECK (amount >= 1),
    is_held        BOOLEAN NOT NULL,
    PRIMARY KEY (fulfillment_id, place_no)
);

CREATE TABLE tasks (
    task_id    UUID NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL,
    subject    UUID NOT NULL,
    due_at     BIGINT NOT NULL,
    attempts   BIGINT NOT NULL,
    last_error TEXT
);
CREATE INDEX tasks_due ON tasks (due_at);
