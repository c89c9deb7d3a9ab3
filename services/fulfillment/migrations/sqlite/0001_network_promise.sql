-- Nodes, the capacity they have given away, promise tokens, and calls to make later.

CREATE TABLE nodes (
    node_id    TEXT NOT NULL PRIMARY KEY,
    version    INTEGER NOT NULL CHECK (version >= 1),
    body       BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX nodes_updated_at ON nodes (updated_at, node_id);

CREATE TABLE capacity_slots (
    node_id    TEXT NOT NULL,
    activity   TEXT NOT NULL,
    slot_start INTEGER NOT NULL,
    used       INTEGER NOT NULL CHECK (used >= 0),
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (node_id, activity, slot_start)
) STRICT;
CREATE INDEX capacity_slots_updated_at ON capacity_slots (updated_at, node_id, activity, slot_start);
CREATE INDEX capacity_slots_start ON capacity_slots (slot_start);

CREATE TABLE promises (
    token         BLOB NOT NULL PRIMARY KEY,
    request_key   BLOB NOT NULL UNIQUE,
    body_hash     BLOB NOT NULL,
    owner         TEXT NOT NULL,
    state         TEXT NOT NULL,
    version       INTEGER NOT NULL CHECK (version >= 1),
    method        TEXT NOT NULL,
    node_id       TEXT NOT NULL,
    activity      TEXT NOT NULL,
    slot_start    INTEGER,
    capacity_held INTEGER NOT NULL,
    ready_at      INTEGER NOT NULL,
    keep_until    INTEGER NOT NULL,
    lines         BLOB NOT NULL,
    decision      BLOB NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    order_id      BLOB
) STRICT;
CREATE INDEX promises_due ON promises (expires_at) WHERE state IN ('PENDING', 'LIVE');
CREATE INDEX promises_ended ON promises (expires_at) WHERE state IN ('RELEASED', 'EXPIRED');
CREATE INDEX promises_order ON promises (order_id) WHERE order_id IS NOT NULL;

CREATE TABLE tasks (
    task_id    BLOB NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL,
    subject    BLOB NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    last_error TEXT
) STRICT;
CREATE INDEX tasks_due ON tasks (due_at);
