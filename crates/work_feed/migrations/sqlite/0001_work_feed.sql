-- The feed of each node's work.

-- The last number of each node's feed. A transaction that changes work of the node locks this row first.
CREATE TABLE work_feeds (
    node_id TEXT    NOT NULL PRIMARY KEY,
    seq     INTEGER NOT NULL
) STRICT;

-- What changed at a node, in the order of the commits. The body is empty where the kind has tables of its own.
CREATE TABLE work_feed (
    node_id TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    item_id BLOB    NOT NULL,
    body    BLOB,
    fed_at  INTEGER NOT NULL,
    PRIMARY KEY (node_id, seq)
) STRICT;
CREATE INDEX work_feed_by_time ON work_feed (fed_at);

-- Open work of the kinds that have no tables in this database.
CREATE TABLE relayed_work (
    node_id TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    item_id BLOB    NOT NULL,
    sort_at INTEGER NOT NULL,
    body    BLOB    NOT NULL,
    fed_at  INTEGER NOT NULL,
    PRIMARY KEY (node_id, kind, item_id)
) STRICT;
CREATE INDEX relayed_work_by_place ON relayed_work (node_id, kind, sort_at, item_id);
