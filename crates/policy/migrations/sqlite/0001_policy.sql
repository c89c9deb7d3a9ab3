-- Policies, and what they ask about nodes: in the service that owns them, and copies of it in the others. `sequence` is that
-- of the last event of the row: an older event changes nothing.

-- One version; `node_group` is the group that its scope names. `body` is an encoded Policy with the times in force; from `over_at` on it does not apply (absent: it may).
CREATE TABLE policies (
    policy_id  BLOB    NOT NULL PRIMARY KEY,
    version    INTEGER NOT NULL UNIQUE CHECK (version >= 1),
    kind       TEXT    NOT NULL,
    scope_key  TEXT    NOT NULL,
    node_group TEXT,
    over_at    INTEGER,
    sequence   INTEGER NOT NULL CHECK (sequence >= 1),
    body       BLOB    NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX policies_updated_at ON policies (updated_at, policy_id);
CREATE INDEX policies_kind ON policies (kind, version);
CREATE INDEX policies_scope ON policies (kind, scope_key);
CREATE INDEX policies_group ON policies (node_group) WHERE node_group IS NOT NULL;

-- Kind and tags (with a space between two) of each node.
CREATE TABLE policy_nodes (
    node_id    TEXT    NOT NULL PRIMARY KEY,
    kind       TEXT    NOT NULL,
    tags       TEXT    NOT NULL,
    sequence   INTEGER NOT NULL CHECK (sequence >= 1),
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX policy_nodes_updated_at ON policy_nodes (updated_at, node_id);

-- Groups of nodes. `body` is an encoded NodeGroup; a group that was deleted has none.
CREATE TABLE node_groups (
    node_group TEXT    NOT NULL PRIMARY KEY,
    sequence   INTEGER NOT NULL CHECK (sequence >= 1),
    body       BLOB,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX node_groups_updated_at ON node_groups (updated_at, node_group);
