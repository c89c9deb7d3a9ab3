-- The master of SKUs. Whether one is a kit never changes.
CREATE TABLE skus (
    sku            TEXT    NOT NULL COLLATE "C" PRIMARY KEY,
    name           TEXT    NOT NULL,
    unit           TEXT    NOT NULL CHECK (unit IN ('PIECE', 'WEIGHED_PIECE')),
    handling_class TEXT    NOT NULL,
    weight_g       BIGINT  NOT NULL CHECK (weight_g >= 0),
    is_kit         BOOLEAN NOT NULL,
    category       TEXT    NOT NULL,
    version        BIGINT  NOT NULL CHECK (version > 0),
    updated_at     BIGINT  NOT NULL
);
CREATE INDEX skus_kits ON skus (sku) WHERE is_kit;

-- What a kit is made of.
CREATE TABLE kit_parts (
    kit_sku  TEXT   NOT NULL COLLATE "C" REFERENCES skus (sku),
    part_no  BIGINT NOT NULL,
    part_sku TEXT   NOT NULL COLLATE "C" REFERENCES skus (sku),
    per_kit  BIGINT NOT NULL CHECK (per_kit > 0),
    PRIMARY KEY (kit_sku, part_no),
    UNIQUE (kit_sku, part_sku)
);
CREATE INDEX kit_parts_by_part ON kit_parts (part_sku);

-- One SKU at one node. on_hand may be negative and reserved may exceed it after a late sale: no CHECK says otherwise.
-- last_movement is the number of the newest row in the ledger. safety_stock is as it was last announced;
-- own_safety_stock was set for the position itself, without one policies decide. has_pools: it has rows in channel_claims. Pages are kept half empty, so that an update of a hot
-- row finds room beside it and touches no index.
CREATE TABLE positions (
    node_id       TEXT    NOT NULL COLLATE "C",
    sku           TEXT    NOT NULL COLLATE "C",
    on_hand       BIGINT  NOT NULL,
    reserved      BIGINT  NOT NULL CHECK (reserved >= 0),
    safety_stock  BIGINT  NOT NULL CHECK (safety_stock >= 0),
    own_safety_stock BIGINT CHECK (own_safety_stock >= 0),
    in_transit    BIGINT  NOT NULL CHECK (in_transit >= 0),
    quarantine    BIGINT  NOT NULL CHECK (quarantine >= 0),
    count_blocked BOOLEAN NOT NULL,
    has_pools     BOOLEAN NOT NULL,
    version       BIGINT  NOT NULL CHECK (version >= 0),
    last_movement BIGINT  NOT NULL CHECK (last_movement >= 0),
    snapshot_at   BIGINT,
    delta_at      BIGINT,
    updated_at    BIGINT  NOT NULL,
    PRIMARY KEY (node_id, sku)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX positions_by_sku ON positions (sku, node_id);

-- Channels that units of a position are kept for, and what they have claimed of it. Only who has locked the position reads
-- and writes its rows.
CREATE TABLE channel_claims (
    node_id  TEXT   NOT NULL COLLATE "C",
    sku      TEXT   NOT NULL COLLATE "C",
    channel  TEXT   NOT NULL COLLATE "C",
    kept     BIGINT NOT NULL CHECK (kept > 0),
    reserved BIGINT NOT NULL CHECK (reserved >= 0),
    PRIMARY KEY (node_id, sku, channel)
);

-- Claims. until_at is there while HELD. Promise, tier and whether the work has begun say who loses when goods are missing.
CREATE TABLE reservations (
    reservation_id UUID   NOT NULL PRIMARY KEY,
    state          TEXT   NOT NULL CHECK (state IN ('HELD', 'CONFIRMED', 'CONSUMED', 'RELEASED', 'EXPIRED')),
    until_at       BIGINT,
    order_id       UUID,
    channel        TEXT,
    promised_at    BIGINT,
    tier           BIGINT NOT NULL,
    is_started     BOOLEAN NOT NULL,
    version        BIGINT NOT NULL CHECK (version > 0),
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    CHECK ((state = 'HELD') = (until_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX reservations_due ON reservations (until_at) WHERE until_at IS NOT NULL;

-- What each claim is made of: held + consumed + released = what was taken.
CREATE TABLE reservation_lines (
    reservation_id UUID   NOT NULL,
    line_index     BIGINT NOT NULL,
    line_no        BIGINT NOT NULL,
    node_id        TEXT   NOT NULL COLLATE "C",
    sku            TEXT   NOT NULL COLLATE "C",
    kit_sku        TEXT COLLATE "C",
    per_unit       BIGINT NOT NULL CHECK (per_unit > 0),
    held           BIGINT NOT NULL CHECK (held >= 0),
    consumed       BIGINT NOT NULL CHECK (consumed >= 0),
    released       BIGINT NOT NULL CHECK (released >= 0),
    PRIMARY KEY (reservation_id, line_index)
) WITH (fillfactor = 80);

-- The ledger: append-only, numbered without gaps per position, with the balances after each row.
CREATE TABLE movements (
    node_id          TEXT   NOT NULL COLLATE "C",
    sku              TEXT   NOT NULL COLLATE "C",
    movement_no      BIGINT NOT NULL CHECK (movement_no > 0),
    kind             TEXT   NOT NULL,
    delta_on_hand    BIGINT NOT NULL,
    delta_reserved   BIGINT NOT NULL,
    on_hand_after    BIGINT NOT NULL,
    reserved_after   BIGINT NOT NULL CHECK (reserved_after >= 0),
    reason           TEXT   NOT NULL,
    actor            TEXT   NOT NULL,
    reference        TEXT   NOT NULL,
    occurred_at      BIGINT NOT NULL,
    position_version BIGINT NOT NULL,
    PRIMARY KEY (node_id, sku, movement_no)
);
-- What a snapshot that was taken earlier has not seen yet. Claims move no goods, so they cost nothing here.
CREATE INDEX movements_of_goods ON movements (node_id, sku, occurred_at) WHERE delta_on_hand <> 0;

-- What was applied of each feed, never deleted: a repeated row does nothing. Two feeders may use one reference.
CREATE TABLE feed_rows (
    feeder     TEXT   NOT NULL COLLATE "C",
    source     TEXT   NOT NULL COLLATE "C",
    reference  TEXT   NOT NULL COLLATE "C",
    node_id    TEXT   NOT NULL COLLATE "C",
    row_key    TEXT   NOT NULL COLLATE "C",
    content    TEXT   NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (feeder, source, reference, node_id, row_key)
);

-- Positions that still have claims to give up: more than the transaction of the fact could. before_no: claims in the ledger
-- from there on were seen already.
CREATE TABLE relief_due (
    node_id    TEXT NOT NULL COLLATE "C",
    sku        TEXT NOT NULL COLLATE "C",
    is_blocked BOOLEAN NOT NULL,
    before_no  BIGINT,
    due_at     BIGINT NOT NULL,
    PRIMARY KEY (node_id, sku)
);
CREATE INDEX relief_due_by_time ON relief_due (due_at, node_id, sku);

-- Which versions of policies the positions were last announced by, and which before that (absent: any). At again_at those that
-- the change is about are looked at once more: a process that had not heard of it may have written some of them.
CREATE TABLE announced (
    one      BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    versions TEXT NOT NULL,
    earlier  TEXT,
    again_at BIGINT
);

-- SKUs whose category changed: other policies may apply to their positions.
CREATE TABLE restate_due (
    sku     TEXT   NOT NULL COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    due_at  BIGINT NOT NULL
);
CREATE INDEX restate_due_by_time ON restate_due (due_at, sku);
