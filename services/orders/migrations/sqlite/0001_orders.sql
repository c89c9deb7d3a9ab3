-- Orders and everything that belongs to them. Money in minor units, times in microseconds since 1970.
CREATE TABLE orders (
    order_id         BLOB    NOT NULL PRIMARY KEY,
    version          INTEGER  NOT NULL,
    status           TEXT    NOT NULL,
    channel          TEXT    NOT NULL,
    channel_order_id TEXT    NOT NULL,
    body_hash        BLOB   NOT NULL,
    customer_ref     TEXT    NOT NULL,
    member_ref       TEXT    NOT NULL, -- opaque handles, '': none: of the member, of the journey, and of what brought it about
    journey_id       TEXT    NOT NULL,
    attribution      BLOB    NOT NULL, -- an encoded Attribution
    currency         TEXT    NOT NULL,
    tax_included     INTEGER NOT NULL,
    terms            TEXT    NOT NULL,
    acceptance       TEXT    NOT NULL,
    cancel_code      TEXT    NOT NULL, -- '': it has none
    total            INTEGER  NOT NULL,
    blocks           TEXT    NOT NULL,
    promise_token    BLOB,
    placed_at        INTEGER  NOT NULL,
    updated_at       INTEGER  NOT NULL,
    payment_due_at   INTEGER,
    payment_ends_at  INTEGER, -- until when a late payment takes the stock again
    payment_policy   INTEGER NOT NULL CHECK (payment_policy >= 0), -- version that says when it is due; 0: the settings
    lapsed_at        INTEGER,
    expired_at       INTEGER,
    confirmed_at     INTEGER,
    cancels          INTEGER  NOT NULL,
    line_count       INTEGER  NOT NULL,
    group_count      INTEGER  NOT NULL,
    leg_count        INTEGER  NOT NULL,
    leg_line_count   INTEGER  NOT NULL,
    charge_count     INTEGER  NOT NULL,
    refund_count     INTEGER  NOT NULL, -- rows of order_refunds: without any there is no look there
    money_count      INTEGER  NOT NULL, -- rows of order_money, likewise
    need_count       INTEGER  NOT NULL, -- rows of order_needs, likewise
    step_count       INTEGER  NOT NULL,
    due_at           INTEGER,
    CONSTRAINT orders_channel_key UNIQUE (channel, channel_order_id),
    CONSTRAINT orders_promise_token_key UNIQUE (promise_token),
    CONSTRAINT orders_counts CHECK (version >= 1 AND total >= 0 AND line_count >= 1)
) STRICT;
CREATE INDEX orders_by_time ON orders (placed_at, order_id);
CREATE INDEX orders_by_status ON orders (status, placed_at, order_id);
CREATE INDEX orders_by_channel ON orders (channel, status, placed_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_ref, placed_at, order_id) WHERE customer_ref <> '';
CREATE INDEX orders_due ON orders (due_at) WHERE due_at IS NOT NULL;

-- The pieces of each line that no leg has; the others are in order_leg_lines.
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
    promotions       TEXT   NOT NULL, -- of the discount, by promotion: id:minor units,id:minor units; '': none
    open             INTEGER NOT NULL,
    backordered      INTEGER NOT NULL,
    cancelled        INTEGER NOT NULL,
    lost             INTEGER NOT NULL,
    cancel_reason    TEXT   NOT NULL,
    PRIMARY KEY (order_id, line_no),
    CONSTRAINT order_lines_signs CHECK (quantity >= 1 AND open >= 0 AND backordered >= 0 AND cancelled >= 0 AND lost >= 0
                                        AND open + backordered + cancelled + lost <= quantity)
) STRICT;

-- What was asked together. `wishes` is an encoded NewGroup without lines: consent, recipient, packaging, address.
CREATE TABLE order_groups (
    order_id       BLOB NOT NULL,
    group_no       INTEGER NOT NULL,
    method         TEXT NOT NULL,
    node_id        TEXT NOT NULL, -- '': the platform chose
    wanted_from    INTEGER,
    wanted_until   INTEGER,
    not_later_than INTEGER,
    wishes         BLOB NOT NULL,
    PRIMARY KEY (order_id, group_no)
) STRICT;

-- The lines of groups. A group that is the only one of its order has all lines, and no rows here.
CREATE TABLE order_group_lines (
    order_id BLOB NOT NULL,
    group_no INTEGER NOT NULL,
    line_no  INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    PRIMARY KEY (order_id, group_no, line_no),
    CONSTRAINT order_group_lines_quantity CHECK (quantity >= 1)
) STRICT;

-- What fulfillment makes of a group: one node, method and window, under an id of its own; each try is a new row. A dropped
-- leg was given up before a node had it and counts for nothing. Status and placed_at are the order's, for pages by node:
-- the few open orders of a node are found without a look at the many that are over.
CREATE TABLE order_legs (
    order_id       BLOB NOT NULL,
    leg_no         INTEGER NOT NULL,
    fulfillment_id BLOB NOT NULL,
    group_no       INTEGER NOT NULL,
    promise_token  BLOB,
    method         TEXT NOT NULL,
    node_id        TEXT NOT NULL,
    status         TEXT NOT NULL,
    placed_at      INTEGER NOT NULL,
    ready_at       INTEGER NOT NULL,
    keep_until     INTEGER NOT NULL,
    held_until     INTEGER NOT NULL,
    released_at    INTEGER, -- when the node was asked
    confirmed_at   INTEGER, -- when inventory confirmed its claim
    dropped_at     INTEGER,
    is_accepted    INTEGER NOT NULL,
    work_version   INTEGER NOT NULL,
    work_actor     TEXT NOT NULL, -- who changed its work last, kind/id or kind/id#staff; '': nobody yet
    need_no        INTEGER, -- the need that it serves; NULL: it is a first try
    PRIMARY KEY (order_id, leg_no),
    CONSTRAINT order_legs_fulfillment_id_key UNIQUE (fulfillment_id)
) STRICT;
CREATE INDEX order_legs_by_node ON order_legs (node_id, status, placed_at, order_id);

-- The last absolute snapshot per leg and line: its pieces sum to what was asked of the leg, always.
CREATE TABLE order_leg_lines (
    order_id         BLOB NOT NULL,
    leg_no           INTEGER NOT NULL,
    line_no          INTEGER NOT NULL,
    quantity         INTEGER NOT NULL,
    waiting_transfer INTEGER NOT NULL,
    to_pick          INTEGER NOT NULL,
    picked           INTEGER NOT NULL,
    packed           INTEGER NOT NULL,
    ready            INTEGER NOT NULL,
    in_custody       INTEGER NOT NULL,
    done             INTEGER NOT NULL,
    short            INTEGER NOT NULL,
    given_up         INTEGER NOT NULL,
    cancelled        INTEGER NOT NULL,
    returned         INTEGER NOT NULL,
    lost             INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    PRIMARY KEY (order_id, leg_no, line_no),
    CONSTRAINT order_leg_lines_sum CHECK (quantity = waiting_transfer + to_pick + picked + packed + ready + in_custody + done
                                                     + short + given_up + cancelled + returned + lost),
    CONSTRAINT order_leg_lines_signs CHECK (quantity >= 0 AND waiting_transfer >= 0 AND to_pick >= 0 AND picked >= 0
        AND packed >= 0 AND ready >= 0 AND in_custody >= 0 AND done >= 0 AND short >= 0 AND given_up >= 0
        AND cancelled >= 0 AND returned >= 0 AND lost >= 0 AND cancel_requested >= 0)
) STRICT;

-- What nodes could not do. Open = quantity - sourced - dropped, over the lines of order_need_lines.
CREATE TABLE order_needs (
    order_id       BLOB   NOT NULL,
    need_no        INTEGER NOT NULL,
    leg_no         INTEGER,          -- the leg that failed; NULL: none ever had them
    group_no       INTEGER NOT NULL,
    reason         TEXT   NOT NULL,
    offers         INTEGER NOT NULL, -- nodes that had them
    tries          INTEGER NOT NULL, -- rounds of looking that ended: part of the ids of its holds
    asks           INTEGER NOT NULL, -- how often options were offered
    opened_at      INTEGER NOT NULL,
    seek_at        INTEGER,          -- when it is looked for next; NULL: over
    asked_at       INTEGER,          -- NULL: the customer is not asked
    resolve_by     INTEGER,          -- with asked_at
    policy_version INTEGER NOT NULL, -- that made resolve_by; 0: the settings
    PRIMARY KEY (order_id, need_no),
    CONSTRAINT order_needs_asked CHECK ((asked_at IS NULL) = (resolve_by IS NULL))
) STRICT;

CREATE TABLE order_need_lines (
    order_id BLOB   NOT NULL,
    need_no  INTEGER NOT NULL,
    line_no  INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    sourced  INTEGER NOT NULL, -- another leg has them
    dropped  INTEGER NOT NULL, -- cancelled
    PRIMARY KEY (order_id, need_no, line_no),
    CONSTRAINT order_need_lines_parts CHECK (quantity >= 1 AND sourced >= 0 AND dropped >= 0 AND sourced + dropped <= quantity)
) STRICT;

-- What a customer may choose. Rows are only ever inserted; those of the last ask (ask_no = order_needs.asks) count. A way out
-- keeps its option_id from ask to ask. `body` is an encoded NeedOption without money.
CREATE TABLE order_need_options (
    order_id    BLOB   NOT NULL,
    need_no     INTEGER NOT NULL,
    ask_no      INTEGER NOT NULL,
    option_no   INTEGER NOT NULL,
    option_id   BLOB   NOT NULL,
    valid_until INTEGER NOT NULL,
    body        BLOB  NOT NULL,
    PRIMARY KEY (order_id, need_no, ask_no, option_no)
) STRICT;

-- The ways of paying an order. What came in by each is in order_money. `replaced` is what another tender pays instead.
CREATE TABLE order_tenders (
    order_id     BLOB   NOT NULL,
    tender_id    TEXT   NOT NULL,
    position     INTEGER NOT NULL,
    kind         TEXT   NOT NULL,
    amount       INTEGER NOT NULL,
    state        TEXT   NOT NULL,
    provider_ref TEXT   NOT NULL,
    replaced     INTEGER NOT NULL,
    PRIMARY KEY (order_id, tender_id),
    CONSTRAINT order_tenders_amounts CHECK (amount >= 0 AND replaced >= 0 AND replaced <= amount)
) STRICT;

CREATE TABLE order_charges (
    order_id    BLOB   NOT NULL,
    position    INTEGER NOT NULL,
    code        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    amount      INTEGER NOT NULL,
    return_rule TEXT   NOT NULL,
    PRIMARY KEY (order_id, position)
) STRICT;

-- What refunds pay back: one row per capture of each. `position` is the number of the refund in its order, part_no that of
-- the part in the refund.
CREATE TABLE order_refunds (
    order_id        BLOB   NOT NULL,
    position        INTEGER NOT NULL,
    part_no         INTEGER NOT NULL,
    refund_id       BLOB   NOT NULL,
    reason          TEXT   NOT NULL,
    requested_at    INTEGER NOT NULL,
    tender_id       TEXT   NOT NULL,
    kind            TEXT   NOT NULL,
    provider_ref    TEXT   NOT NULL, -- of the capture to pay back
    amount          INTEGER NOT NULL,
    state           TEXT   NOT NULL,
    attempt         INTEGER NOT NULL, -- how often it was asked for
    next_attempt_at INTEGER,
    report_ref      TEXT   NOT NULL, -- as the provider reported last
    PRIMARY KEY (order_id, position, part_no),
    CONSTRAINT order_refunds_amount CHECK (amount > 0 AND attempt >= 1)
) STRICT;

-- The money ledger: every fact about an amount of an order, in minor units. Rows are only ever inserted.
CREATE TABLE order_money (
    order_id    BLOB   NOT NULL,
    row_no      INTEGER NOT NULL,
    tender_id   TEXT   NOT NULL, -- '': no tender pays it
    line_no     INTEGER NOT NULL, -- 0: the tender as a whole
    first_piece INTEGER NOT NULL, -- from 1; 0: the tender as a whole
    units       INTEGER NOT NULL, -- pieces from there
    component   TEXT   NOT NULL,
    cause       TEXT   NOT NULL,
    amount      INTEGER NOT NULL, -- a discount is negative
    reference   TEXT   NOT NULL, -- the provider's, of a receipt
    leg_no      INTEGER NOT NULL, -- the leg at whose handover it was paid; 0: elsewhere
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (order_id, row_no),
    CONSTRAINT order_money_signs CHECK (row_no >= 1 AND line_no >= 0 AND first_piece >= 0 AND units >= 0 AND leg_no >= 0)
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
