-- What only the owner of policies has.

-- Locked by everything that changes which policies there are, when they are in force or which nodes are in a group, so that
-- what is refused as ambiguous is decided one after another.
CREATE TABLE policy_lock (
    one          BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    last_version BIGINT NOT NULL CHECK (last_version >= 0)
);

-- Each time for which a version was put in force. Of those of a kind and scope that cover an instant the last one holds.
CREATE TABLE policy_activations (
    kind          TEXT   COLLATE "C" NOT NULL,
    scope_key     TEXT   COLLATE "C" NOT NULL,
    activation_no BIGINT NOT NULL CHECK (activation_no >= 1),
    policy_id     UUID   NOT NULL,
    from_at       BIGINT NOT NULL,
    until_at      BIGINT,
    actor         TEXT   NOT NULL,
    activated_at  BIGINT NOT NULL,
    ended_by      TEXT, -- who rolled it back, and why
    end_reason    TEXT,
    PRIMARY KEY (kind, scope_key, activation_no)
);
