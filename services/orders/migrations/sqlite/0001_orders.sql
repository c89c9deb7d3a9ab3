-- Orders and everything that belongs to them. Money in minor units, times in microseconds since 1970.
CREATE TABLE orders (
    order_id         BLOB    NOT NULL PRIMARY KEY,
    version          INTEGER  NOT NULL,
    status           TEXT    NOT NULL,
    channel          TEXT    NOT NULL,
    channel_order_id TEXT    NOT NULL,
    body_hash        BLOB   NOT NULL,
    customer_ref     TEXT    NOT NULL,
    currency         TEXT    NOT NULL,
    tax_included     INTEGER NOT NULL,
    terms            TEXT    NOT NULL,
    total            INTEGER  NOT NULL,
    blocks           TEXT    NOT NULL,
    promise_token    BLOB    NOT NULL,
    method           TEXT    NOT NULL,
    node_id          TEXT    NOT NULL,
    promised_at      INTEGER  NOT NULL,
    held_until       INTEGER  NOT NULL,
    placed_at        INTEGER  NOT NULL,
    updated_at       INTEGER  NOT NULL,
    payment_due_at   INTEGER,
    lapsed_at        INTEGER,
    expired_at       INTEGER,
    confirmed_at     INTEGER,
    fulfillment_id   BLOB,
    cancels          INTEGER  NOT NULL,
    line_count       INTEGER  NOT NULL,
    charge_count     INTEGER  NOT NULL,
    refund_count     INTEGER  NOT NULL,
    step_count       INTEGER  NOT NULL,
    due_at           INTEGER,
    CONSTRAINT orders_channel_key UNIQUE (channel, channel_order_id),
    CONSTRAINT orders_promise_token_key UNIQUE (promise_token),
    CONSTRAINT orders_counts CHECK (version >= 1 AND total >= 0 AND line_count >= 1)
) STRICT;
CREATE INDEX orders_by_time ON orders (placed_at, order_id);
CREATE INDEX orders_by_status ON orders (status, placed_at, order_id);
CREATE INDEX orders_by_node ON orders (node_id, status, placed_at, order_id);
CREATE INDEX orders_by_channel ON orders (channel, status, placed_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_ref, placed_at, order_id) WHERE customer_ref <> '';
CREATE INDEX orders_due ON orders (due_at) WHERE due_at IS NOT NULL;

-- Where the pieces of each line are: the buckets sum to what was ordered, always.
CREATE TABLE order_lines (
    order_id         BLOB   NOT NULL,
    line_no          INTEGER NOT NULL,
    sku              TEXT   NOT NULL,
    name             TEXT   NOT NULL,
    quantity         INTEGER NOT NULL,
    unit_price       INTEGER NOT NULL,
    discount         INTEGER NOT NULL,
    tax              INTEGER NOT NULL,
    total            INTEGER NOT NULL,
    share            INTEGER NOT NULL,
    open             INTEGER NOT NULL,
    reserved         INTEGER NOT NULL,
    backordered      INTEGER NOT NULL,
    allocated        INTEGER NOT NULL,
    picked           INTEGER NOT NULL,
    packed           INTEGER NOT NULL,
    ready            INTEGER NOT NULL,
    in_custody       INTEGER NOT NULL,
    delivered        INTEGER NOT NULL,
    cancelled        INTEGER NOT NULL,
    lost             INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    cancel_reason    TEXT   NOT NULL,
    PRIMARY KEY (order_id, line_no),
    CONSTRAINT order_lines_sum CHECK (quantity = open + reserved + backordered + allocated + picked + packed + ready
                                                 + in_custody + delivered + cancelled + lost),
    CONSTRAINT order_lines_signs CHECK (quantity >= 1 AND open >= 0 AND reserved >= 0 AND backordered >= 0
        AND allocated >= 0 AND picked >= 0 AND packed >= 0 AND ready >= 0 AND in_custody >= 0 AND delivered >= 0
        AND cancelled >= 0 AND lost >= 0 AND cancel_requested >= 0)
) STRICT;

-- The money ledger: what came in by each tender, and how much of it was asked back.
CREATE TABLE order_tenders (
    order_id     BLOB   NOT NULL,
    tender_id    TEXT   NOT NULL,
    position     INTEGER NOT NULL,
    kind         TEXT   NOT NULL,
    amount       INTEGER NOT NULL,
    state        TEXT   NOT NULL,
    provider_ref TEXT   NOT NULL,
    claimed      INTEGER NOT NULL,
    PRIMARY KEY (order_id, tender_id),
    CONSTRAINT order_tenders_claims CHECK (amount >= 0 AND claimed >= 0 AND claimed <= amount)
) STRICT;

CREATE TABLE order_charges (
    order_id    BLOB   NOT NULL,
    position    INTEGER NOT NULL,
    code        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    amount      INTEGER NOT NULL,
    PRIMARY KEY (order_id, position)
) STRICT;

CREATE TABLE order_refunds (
    order_id     BLOB   NOT NULL,
    position     INTEGER NOT NULL,
    refund_id    BLOB   NOT NULL,
    amount       INTEGER NOT NULL,
    reason       TEXT   NOT NULL,
    requested_at INTEGER NOT NULL,
    PRIMARY KEY (order_id, position),
    CONSTRAINT order_refunds_refund_id_key UNIQUE (refund_id),
    CONSTRAINT order_refunds_amount CHECK (amount > 0)
) STRICT;

-- What happened, step by step, for people. Also fed by the events of the fulfillment order.
CREATE TABLE order_timeline (
    order_id    BLOB   NOT NULL,
    number      INTEGER NOT NULL,
    step        TEXT   NOT NULL,
    text        TEXT   NOT NULL,
    actor       TEXT   NOT NULL,
    occurred_at INTEGER NOT NULL,
    node_id     TEXT   NOT NULL,
    PRIMARY KEY (order_id, number)
) STRICT;
