-- Work of the nodes. Lines of a fulfillment order keep their units in buckets that sum to what was asked.

CREATE TABLE fulfillment_orders (
    fulfillment_id   UUID    NOT NULL PRIMARY KEY,
    order_id         UUID    NOT NULL,
    promise_token    UUID    NOT NULL,
    decision_id      UUID    NOT NULL,
    node_id          TEXT    COLLATE "C" NOT NULL,
    method           TEXT    NOT NULL,
    channel          TEXT    NOT NULL,
    channel_order_id TEXT    NOT NULL,
    -- opaque handles of the member who buys and of the journey; '': none
    member_ref       TEXT    NOT NULL,
    journey_id       TEXT    NOT NULL,
    -- an encoded FulfillmentOrder with recipient and packaging alone
    wishes           BYTEA   NOT NULL,
    promised_at      BIGINT  NOT NULL,
    version          BIGINT  NOT NULL CHECK (version >= 1),
    -- caches of the domain's view, written with every change
    state            TEXT    COLLATE "C" NOT NULL,
    is_work          BOOLEAN NOT NULL,
    -- marks
    offered_at       BIGINT,
    reached          TEXT,
    expired_at       BIGINT,
    ending           TEXT,
    ended_at         BIGINT,
    updated_at       BIGINT  NOT NULL,
    -- kind/id, or kind/id#staff
    updated_by       TEXT    NOT NULL,
    -- among whose unpaid orders it counts while it is one; null: nobody's
    holder           TEXT,
    is_unpaid        BOOLEAN NOT NULL,
    -- paid at its handovers: the currency of the order, what was paid elsewhere, what was paid here; no currency: nothing is due
    currency         TEXT,
    covered_minor    BIGINT  NOT NULL CHECK (covered_minor >= 0),
    collected_minor  BIGINT  NOT NULL CHECK (collected_minor >= 0),
    is_payment_lost  BOOLEAN NOT NULL,
    doubtful_skus    BYTEA   NOT NULL,
    -- never changes: a page ends before it reads too many lines
    line_count       BIGINT  NOT NULL CHECK (line_count >= 1)
);
CREATE INDEX fulfillment_orders_by_promise ON fulfillment_orders (promise_token);
CREATE INDEX fulfillment_orders_by_order ON fulfillment_orders (order_id, offered_at);
CREATE INDEX fulfillment_orders_by_work ON fulfillment_orders (node_id, promised_at, fulfillment_id) WHERE is_work;
CREATE INDEX fulfillment_orders_unpaid ON fulfillment_orders (holder, order_id) WHERE is_unpaid;
CREATE INDEX fulfillment_orders_by_state ON fulfillment_orders (node_id, state, promised_at, fulfillment_id);

CREATE TABLE fulfillment_lines (
    fulfillment_id UUID   NOT NULL REFERENCES fulfillment_orders (fulfillment_id),
    line_no        BIGINT NOT NULL CHECK (line_no >= 1),
    sku            TEXT   COLLATE "C" NOT NULL,
    name           TEXT   NOT NULL,
    quantity       BIGINT NOT NULL CHECK (quantity >= 1),
    to_pick        BIGINT NOT NULL CHECK (to_pick >= 0),
    picked         BIGINT NOT NULL CHECK (picked >= 0),
    packed         BIGINT NOT NULL CHECK (packed >= 0),
    ready          BIGINT NOT NULL CHECK (ready >= 0),
    in_custody     BIGINT NOT NULL CHECK (in_custody >= 0),
    done           BIGINT NOT NULL CHECK (done >= 0),
    short          BIGINT NOT NULL CHECK (short >= 0),
    given_up       BIGINT NOT NULL CHECK (given_up >= 0),
    cancelled      BIGINT NOT NULL CHECK (cancelled >= 0),
    returned       BIGINT NOT NULL CHECK (returned >= 0),
    lost           BIGINT NOT NULL CHECK (lost >= 0),
    put_back       BIGINT NOT NULL CHECK (put_back >= 0),
    restocked      BIGINT NOT NULL CHECK (restocked >= 0),
    -- of given_up: still claimed, until the order has them elsewhere
    kept           BIGINT NOT NULL CHECK (kept >= 0),
    due_minor      BIGINT NOT NULL CHECK (due_minor >= 0),
    PRIMARY KEY (fulfillment_id, line_no),
    CHECK (to_pick + picked + packed + ready + in_custody + done + short + given_up + cancelled + returned + lost = quantity),
    CHECK (kept <= given_up),
    CHECK (put_back + restocked + kept <= given_up + cancelled)
);

-- The clocks that run, at most one for each step. The timer looks at a row at `next_at`; a row without it has ended.
CREATE TABLE fulfillment_clocks (
    fulfillment_id UUID    NOT NULL REFERENCES fulfillment_orders (fulfillment_id),
    step           TEXT    NOT NULL,
    started_at     BIGINT  NOT NULL,
    due_at         BIGINT  NOT NULL,
    ends_at        BIGINT,
    warn_at        BIGINT,
    is_at_risk     BOOLEAN NOT NULL,
    first_reminder_at BIGINT,
    second_reminder_at BIGINT,
    reminded       BIGINT  NOT NULL CHECK (reminded >= 0),
    -- of the policy that made the end; 0: the settings
    policy_version BIGINT  NOT NULL CHECK (policy_version >= 0),
    next_at        BIGINT,
    PRIMARY KEY (fulfillment_id, step)
);
CREATE INDEX fulfillment_clocks_by_time ON fulfillment_clocks (next_at) WHERE next_at IS NOT NULL;

-- The event of a lost claim, or of a lost part, may arrive before the order that it belongs to: the row is where both meet.
CREATE TABLE claim_notes (
    fulfillment_id UUID   NOT NULL PRIMARY KEY,
    is_lost       BOOLEAN NOT NULL,
    sku           TEXT   NOT NULL,
    -- units per line, packed; empty: all of the claim
    lines         BYTEA  NOT NULL
);

-- The one code that opens a fulfillment order; only its keyed hash is kept.
CREATE TABLE pickup_codes (
    fulfillment_id UUID   NOT NULL PRIMARY KEY,
    node_id        TEXT   COLLATE "C" NOT NULL,
    digest         BYTEA  NOT NULL,
    wrong_tries    BIGINT NOT NULL CHECK (wrong_tries >= 0),
    issued_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX pickup_codes_by_digest ON pickup_codes (node_id, digest);

-- Who collected, a kind and the channel's handle, never a name; and what was paid.
CREATE TABLE handovers (
    fulfillment_id UUID    NOT NULL REFERENCES fulfillment_orders (fulfillment_id),
    version        BIGINT  NOT NULL,
    collector      TEXT    NOT NULL,
    collector_ref  TEXT    NOT NULL,
    actor          TEXT    NOT NULL,
    handed_at      BIGINT  NOT NULL,
    -- what was paid with it; null: nothing was
    payment_kind     TEXT,
    payment_minor    BIGINT,
    payment_currency TEXT,
    payment_ref      TEXT,
    PRIMARY KEY (fulfillment_id, version)
);

-- Codes that were not found, per node and per caller.
CREATE TABLE code_misses (
    scope    TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    since    BIGINT NOT NULL,
    misses   BIGINT NOT NULL CHECK (misses >= 0)
);
