-- Work of the nodes. Lines of a fulfillment order keep their units in buckets that sum to what was asked.

CREATE TABLE fulfillment_orders (
    fulfillment_id   BLOB    NOT NULL PRIMARY KEY,
    order_id         BLOB    NOT NULL,
    promise_token    BLOB    NOT NULL,
    decision_id      BLOB    NOT NULL,
    node_id          TEXT    NOT NULL,
    method           TEXT    NOT NULL,
    channel          TEXT    NOT NULL,
    channel_order_id TEXT    NOT NULL,
    -- opaque handles of the member who buys and of the journey; '': none
    member_ref       TEXT    NOT NULL,
    journey_id       TEXT    NOT NULL,
    -- an encoded FulfillmentOrder with recipient and packaging alone
    wishes           BLOB    NOT NULL,
    promised_at      INTEGER  NOT NULL,
    version          INTEGER  NOT NULL CHECK (version >= 1),
    -- caches of the domain's view, written with every change
    state            TEXT    NOT NULL,
    is_work          INTEGER NOT NULL,
    -- marks
    offered_at       INTEGER,
    reached          TEXT,
    expired_at       INTEGER,
    ending           TEXT,
    ended_at         INTEGER,
    updated_at       INTEGER  NOT NULL,
    -- kind/id, or kind/id#staff
    updated_by       TEXT    NOT NULL,
    -- among whose unpaid orders it counts while it is one; null: nobody's
    holder           TEXT,
    is_unpaid        INTEGER NOT NULL,
    -- paid at its handovers: the currency of the order, what was paid elsewhere, what was paid here; no currency: nothing is due
    currency         TEXT,
    covered_minor    INTEGER NOT NULL CHECK (covered_minor >= 0),
    collected_minor  INTEGER NOT NULL CHECK (collected_minor >= 0),
    is_payment_lost  INTEGER NOT NULL,
    doubtful_skus    BLOB    NOT NULL,
    -- never changes: a page ends before it reads too many lines
    line_count       INTEGER  NOT NULL CHECK (line_count >= 1)
) STRICT;
CREATE INDEX fulfillment_orders_by_promise ON fulfillment_orders (promise_token);
CREATE INDEX fulfillment_orders_by_order ON fulfillment_orders (order_id, offered_at);
CREATE INDEX fulfillment_orders_by_work ON fulfillment_orders (node_id, promised_at, fulfillment_id) WHERE is_work;
CREATE INDEX fulfillment_orders_unpaid ON fulfillment_orders (holder, order_id) WHERE is_unpaid;
CREATE INDEX fulfillment_orders_by_state ON fulfillment_orders (node_id, state, promised_at, fulfillment_id);

CREATE TABLE fulfillment_lines (
    fulfillment_id BLOB   NOT NULL REFERENCES fulfillment_orders (fulfillment_id),
    line_no        INTEGER NOT NULL CHECK (line_no >= 1),
    sku            TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    quantity       INTEGER NOT NULL CHECK (quantity >= 1),
    to_pick        INTEGER NOT NULL CHECK (to_pick >= 0),
    picked         INTEGER NOT NULL CHECK (picked >= 0),
    packed         INTEGER NOT NULL CHECK (packed >= 0),
    ready          INTEGER NOT NULL CHECK (ready >= 0),
    in_custody     INTEGER NOT NULL CHECK (in_custody >= 0),
    done           INTEGER NOT NULL CHECK (done >= 0),
    short          INTEGER NOT NULL CHECK (short >= 0),
    given_up       INTEGER NOT NULL CHECK (given_up >= 0),
    cancelled      INTEGER NOT NULL CHECK (cancelled >= 0),
    returned       INTEGER NOT NULL CHECK (returned >= 0),
    lost           INTEGER NOT NULL CHECK (lost >= 0),
    put_back       INTEGER NOT NULL CHECK (put_back >= 0),
    restocked      INTEGER NOT NULL CHECK (restocked >= 0),
    -- of given_up: still claimed, until the order has them elsewhere
    kept           INTEGER NOT NULL CHECK (kept >= 0),
    due_minor      INTEGER NOT NULL CHECK (due_minor >= 0),
    PRIMARY KEY (fulfillment_id, line_no),
    CHECK (to_pick + picked + packed + ready + in_custody + done + short + given_up + cancelled + returned + lost = quantity),
    CHECK (kept <= given_up),
    CHECK (put_back + restocked + kept <= given_up + cancelled)
) STRICT;

-- The clocks that run, at most one for each step. The timer looks at a row at `next_at`; a row without it has ended.
CREATE TABLE fulfillment_clocks (
    fulfillment_id BLOB    NOT NULL REFERENCES fulfillment_orders (fulfillment_id),
    step           TEXT    NOT NULL,
    started_at     INTEGER NOT NULL,
    due_at         INTEGER NOT NULL,
    ends_at        INTEGER,
    warn_at        INTEGER,
    is_at_risk     INTEGER NOT NULL,
    first_reminder_at INTEGER,
    second_reminder_at INTEGER,
    reminded       INTEGER NOT NULL CHECK (reminded >= 0),
    -- of the policy that made the end; 0: the settings
    policy_version INTEGER NOT NULL CHECK (policy_version >= 0),
    next_at        INTEGER,
    PRIMARY KEY (fulfillment_id, step)
) STRICT;
CREATE INDEX fulfillment_clocks_by_time ON fulfillment_clocks (next_at) WHERE next_at IS NOT NULL;

-- The event of a lost claim, or of a lost part, may arrive before the order that it belongs to: the row is where both meet.
CREATE TABLE claim_notes (
    fulfillment_id BLOB   NOT NULL PRIMARY KEY,
    is_lost       INTEGER NOT NULL,
    sku           TEXT   NOT NULL,
    -- units per line, packed; empty: all of the claim
    lines         BLOB   NOT NULL
) STRICT;

-- The one code that opens a fulfillment order; only its keyed hash is kept.
CREATE TABLE pickup_codes (
    fulfillment_id BLOB   NOT NULL PRIMARY KEY,
    node_id        TEXT   NOT NULL,
    digest         BLOB   NOT NULL,
    wrong_tries    INTEGER NOT NULL CHECK (wrong_tries >= 0),
    issued_at      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX pickup_codes_by_digest ON pickup_codes (node_id, digest);

-- Who collected, a kind and the channel's handle, never a name; and what was paid.
CREATE TABLE handovers (
    fulfillment_id BLOB    NOT NULL REFERENCES fulfillment_orders (fulfillment_id),
    version        INTEGER NOT NULL,
    collector      TEXT    NOT NULL,
    collector_ref  TEXT    NOT NULL,
    actor          TEXT    NOT NULL,
    handed_at      INTEGER NOT NULL,
    -- what was paid with it; null: nothing was
    payment_kind     TEXT,
    payment_minor    INTEGER,
    payment_currency TEXT,
    payment_ref      TEXT,
    PRIMARY KEY (fulfillment_id, version)
) STRICT;

-- Codes that were not found, per node and per caller.
CREATE TABLE code_misses (
    scope    TEXT   NOT NULL PRIMARY KEY,
    since    INTEGER NOT NULL,
    misses   INTEGER NOT NULL CHECK (misses >= 0)
) STRICT;
