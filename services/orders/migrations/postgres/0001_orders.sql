-- Orders and everything that belongs to them. Money in minor units, times in microseconds since 1970.
CREATE TABLE orders (
    order_id         UUID    NOT NULL PRIMARY KEY,
    version          BIGINT  NOT NULL,
    status           TEXT    NOT NULL,
    channel          TEXT    NOT NULL,
    channel_order_id TEXT    NOT NULL,
    body_hash        BYTEA   NOT NULL,
    customer_ref     TEXT    NOT NULL,
    member_ref       TEXT    NOT NULL, -- opaque handles, '': none: of the member, of the journey, and of what brought it about
    journey_id       TEXT    NOT NULL,
    attribution      BYTEA   NOT NULL, -- an encoded Attribution
    currency         TEXT    NOT NULL,
    tax_included     BOOLEAN NOT NULL,
    terms            TEXT    NOT NULL,
    acceptance       TEXT    NOT NULL,
    cancel_code      TEXT    NOT NULL, -- '': it has none
    total            BIGINT  NOT NULL,
    blocks           TEXT    NOT NULL,
    promise_token    UUID,
    placed_at        BIGINT  NOT NULL,
    updated_at       BIGINT  NOT NULL,
    payment_due_at   BIGINT,
    payment_ends_at  BIGINT, -- until when a late payment takes the stock again
    payment_policy   BIGINT  NOT NULL CHECK (payment_policy >= 0), -- version that says when it is due; 0: the settings
    lapsed_at        BIGINT,
    expired_at       BIGINT,
    confirmed_at     BIGINT,
    cancels          BIGINT  NOT NULL,
    line_count       BIGINT  NOT NULL,
    group_count      BIGINT  NOT NULL,
    leg_count        BIGINT  NOT NULL,
    leg_line_count   BIGINT  NOT NULL,
    charge_count     BIGINT  NOT NULL,
    refund_count     BIGINT  NOT NULL, -- rows of order_refunds: without any there is no look there
    money_count      BIGINT  NOT NULL, -- rows of order_money, likewise
    need_count       BIGINT  NOT NULL, -- rows of order_needs, likewise
    step_count       BIGINT  NOT NULL,
    due_at           BIGINT,
    CONSTRAINT orders_promise_token_key UNIQUE (promise_token),
    CONSTRAINT orders_counts CHECK (version >= 1 AND total >= 0 AND line_count >= 1)
);
CREATE INDEX orders_by_time ON orders (placed_at, order_id);
CREATE INDEX orders_by_status ON orders (status, placed_at, order_id);
CREATE INDEX orders_by_channel ON orders (channel, status, placed_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_ref, placed_at, order_id) WHERE customer_ref <> '';
-- After orders_by_channel: as long as PostgreSQL has no statistics of the table, the younger of two indexes that begin
-- with the same column wins, and the other one finds all orders of the channel.
CREATE UNIQUE INDEX orders_channel_key ON orders (channel, channel_order_id);
CREATE INDEX orders_due ON orders (due_at) WHERE due_at IS NOT NULL;

-- The pieces of each line that no leg has; the others are in order_leg_lines.
CREATE TABLE order_lines (
    order_id         UUID   NOT NULL,
    line_no          BIGINT NOT NULL,
    sku              TEXT   NOT NULL,
    name             TEXT   NOT NULL,
    quantity         BIGINT NOT NULL,
    unit_price       BIGINT NOT NULL,
    discount         BIGINT NOT NULL,
    tax              BIGINT NOT NULL,
    total            BIGINT NOT NULL,
    promotions       TEXT   NOT NULL, -- of the discount, by promotion: id:minor units,id:minor units; '': none
    open             BIGINT NOT NULL,
    backordered      BIGINT NOT NULL,
    cancelled        BIGINT NOT NULL,
    lost             BIGINT NOT NULL,
    cancel_reason    TEXT   NOT NULL,
    PRIMARY KEY (order_id, line_no),
    CONSTRAINT order_lines_signs CHECK (quantity >= 1 AND open >= 0 AND backordered >= 0 AND cancelled >= 0 AND lost >= 0
                                        AND open + backordered + cancelled + lost <= quantity)
);

-- What was asked together. `wishes` is an encoded NewGroup without lines: consent, recipient, packaging, address.
CREATE TABLE order_groups (
    order_id       UUID NOT NULL,
    group_no       BIGINT NOT NULL,
    method         TEXT NOT NULL,
    node_id        TEXT NOT NULL, -- '': the platform chose
    wanted_from    BIGINT,
    wanted_until   BIGINT,
    not_later_than BIGINT,
    wishes         BYTEA NOT NULL,
    PRIMARY KEY (order_id, group_no)
);

-- The lines of groups. A group that is the only one of its order has all lines, and no rows here.
CREATE TABLE order_group_lines (
    order_id UUID NOT NULL,
    group_no BIGINT NOT NULL,
    line_no  BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    PRIMARY KEY (order_id, group_no, line_no),
    CONSTRAINT order_group_lines_quantity CHECK (quantity >= 1)
);

-- What fulfillment makes of a group: one node, method and window, under an id of its own; each try is a new row. A dropped
-- leg was given up before a node had it and counts for nothing. Status and placed_at are the order's, for pages by node:
-- the few open orders of a node are found without a look at the many that are over.
CREATE TABLE order_legs (
    order_id       UUID NOT NULL,
    leg_no         BIGINT NOT NULL,
    fulfillment_id UUID NOT NULL,
    group_no       BIGINT NOT NULL,
    promise_token  UUID,
    method         TEXT NOT NULL,
    node_id        TEXT NOT NULL,
    status         TEXT NOT NULL,
    placed_at      BIGINT NOT NULL,
    ready_at       BIGINT NOT NULL,
    keep_until     BIGINT NOT NULL,
    held_until     BIGINT NOT NULL,
    released_at    BIGINT, -- when the node was asked
    confirmed_at   BIGINT, -- when inventory confirmed its claim
    dropped_at     BIGINT,
    is_accepted    BOOLEAN NOT NULL,
    work_version   BIGINT NOT NULL,
    work_actor     TEXT NOT NULL, -- who changed its work last, kind/id or kind/id#staff; '': nobody yet
    need_no        BIGINT, -- the need that it serves; NULL: it is a first try
    PRIMARY KEY (order_id, leg_no),
    CONSTRAINT order_legs_fulfillment_id_key UNIQUE (fulfillment_id)
);
CREATE INDEX order_legs_by_node ON order_legs (node_id, status, placed_at, order_id);

-- The last absolute snapshot per leg and line: its pieces sum to what was asked of the leg, always.
CREATE TABLE order_leg_lines (
    order_id         UUID NOT NULL,
    leg_no           BIGINT NOT NULL,
    line_no          BIGINT NOT NULL,
    quantity         BIGINT NOT NULL,
    waiting_transfer BIGINT NOT NULL,
    to_pick          BIGINT NOT NULL,
    picked           BIGINT NOT NULL,
    packed           BIGINT NOT NULL,
    ready            BIGINT NOT NULL,
    in_custody       BIGINT NOT NULL,
    done             BIGINT NOT NULL,
    short            BIGINT NOT NULL,
    given_up         BIGINT NOT NULL,
    cancelled        BIGINT NOT NULL,
    returned         BIGINT NOT NULL,
    lost             BIGINT NOT NULL,
    cancel_requested BIGINT NOT NULL,
    PRIMARY KEY (order_id, leg_no, line_no),
    CONSTRAINT order_leg_lines_sum CHECK (quantity = waiting_transfer + to_pick + picked + packed + ready + in_custody + done
                                                     + short + given_up + cancelled + returned + lost),
    CONSTRAINT order_leg_lines_signs CHECK (quantity >= 0 AND waiting_transfer >= 0 AND to_pick >= 0 AND picked >= 0
        AND packed >= 0 AND ready >= 0 AND in_custody >= 0 AND done >= 0 AND short >= 0 AND given_up >= 0
        AND cancelled >= 0 AND returned >= 0 AND lost >= 0 AND cancel_requested >= 0)
);

-- What nodes could not do. Open = quantity - sourced - dropped, over the lines of order_need_lines.
CREATE TABLE order_needs (
    order_id       UUID   NOT NULL,
    need_no        BIGINT NOT NULL,
    leg_no         BIGINT,          -- the leg that failed; NULL: none ever had them
    group_no       BIGINT NOT NULL,
    reason         TEXT   NOT NULL,
    offers         BIGINT NOT NULL, -- nodes that had them
    tries          BIGINT NOT NULL, -- rounds of looking that ended: part of the ids of its holds
    asks           BIGINT NOT NULL, -- how often options were offered
    opened_at      BIGINT NOT NULL,
    seek_at        BIGINT,          -- when it is looked for next; NULL: over
    asked_at       BIGINT,          -- NULL: the customer is not asked
    resolve_by     BIGINT,          -- with asked_at
    policy_version BIGINT NOT NULL, -- that made resolve_by; 0: the settings
    PRIMARY KEY (order_id, need_no),
    CONSTRAINT order_needs_asked CHECK ((asked_at IS NULL) = (resolve_by IS NULL))
);

CREATE TABLE order_need_lines (
    order_id UUID   NOT NULL,
    need_no  BIGINT NOT NULL,
    line_no  BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    sourced  BIGINT NOT NULL, -- another leg has them
    dropped  BIGINT NOT NULL, -- cancelled
    PRIMARY KEY (order_id, need_no, line_no),
    CONSTRAINT order_need_lines_parts CHECK (quantity >= 1 AND sourced >= 0 AND dropped >= 0 AND sourced + dropped <= quantity)
);

-- What a customer may choose. Rows are only ever inserted; those of the last ask (ask_no = order_needs.asks) count. A way out
-- keeps its option_id from ask to ask. `body` is an encoded NeedOption without money.
CREATE TABLE order_need_options (
    order_id    UUID   NOT NULL,
    need_no     BIGINT NOT NULL,
    ask_no      BIGINT NOT NULL,
    option_no   BIGINT NOT NULL,
    option_id   UUID   NOT NULL,
    valid_until BIGINT NOT NULL,
    body        BYTEA  NOT NULL,
    PRIMARY KEY (order_id, need_no, ask_no, option_no)
);

-- The ways of paying an order. What came in by each is in order_money. `replaced` is what another tender pays instead.
CREATE TABLE order_tenders (
    order_id     UUID   NOT NULL,
    tender_id    TEXT   NOT NULL,
    position     BIGINT NOT NULL,
    kind         TEXT   NOT NULL,
    amount       BIGINT NOT NULL,
    state        TEXT   NOT NULL,
    provider_ref TEXT   NOT NULL,
    replaced     BIGINT NOT NULL,
    PRIMARY KEY (order_id, tender_id),
    CONSTRAINT order_tenders_amounts CHECK (amount >= 0 AND replaced >= 0 AND replaced <= amount)
);

CREATE TABLE order_charges (
    order_id    UUID   NOT NULL,
    position    BIGINT NOT NULL,
    code        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    amount      BIGINT NOT NULL,
    return_rule TEXT   NOT NULL,
    PRIMARY KEY (order_id, position)
);

-- What refunds pay back: one row per capture of each. `position` is the number of the refund in its order, part_no that of
-- the part in the refund.
CREATE TABLE order_refunds (
    order_id        UUID   NOT NULL,
    position        BIGINT NOT NULL,
    part_no         BIGINT NOT NULL,
    refund_id       UUID   NOT NULL,
    reason          TEXT   NOT NULL,
    requested_at    BIGINT NOT NULL,
    tender_id       TEXT   NOT NULL,
    kind            TEXT   NOT NULL,
    provider_ref    TEXT   NOT NULL, -- of the capture to pay back
    amount          BIGINT NOT NULL,
    state           TEXT   NOT NULL,
    attempt         BIGINT NOT NULL, -- how often it was asked for
    next_attempt_at BIGINT,
    report_ref      TEXT   NOT NULL, -- as the provider reported last
    PRIMARY KEY (order_id, position, part_no),
    CONSTRAINT order_refunds_amount CHECK (amount > 0 AND attempt >= 1)
);

-- The money ledger: every fact about an amount of an order, in minor units. Rows are only ever inserted.
CREATE TABLE order_money (
    order_id    UUID   NOT NULL,
    row_no      BIGINT NOT NULL,
    tender_id   TEXT   NOT NULL, -- '': no tender pays it
    line_no     BIGINT NOT NULL, -- 0: the tender as a whole
    first_piece BIGINT NOT NULL, -- from 1; 0: the tender as a whole
    units       BIGINT NOT NULL, -- pieces from there
    component   TEXT   NOT NULL,
    cause       TEXT   NOT NULL,
    amount      BIGINT NOT NULL, -- a discount is negative
    reference   TEXT   NOT NULL, -- the provider's, of a receipt
    leg_no      BIGINT NOT NULL, -- the leg at whose handover it was paid; 0: elsewhere
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (order_id, row_no),
    CONSTRAINT order_money_signs CHECK (row_no >= 1 AND line_no >= 0 AND first_piece >= 0 AND units >= 0 AND leg_no >= 0)
);

-- What happened, step by step, for people. Also fed by the events of the fulfillment order.
CREATE TABLE order_timeline (
    order_id    UUID   NOT NULL,
    number      BIGINT NOT NULL,
    step        TEXT   NOT NULL,
    text        TEXT   NOT NULL,
    actor       TEXT   NOT NULL,
    occurred_at BIGINT NOT NULL,
    node_id     TEXT   NOT NULL,
    PRIMARY KEY (order_id, number)
);
