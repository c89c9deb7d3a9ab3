-- What only the owner of policies has.

-- Locked by everything that changes which policies there are, when they are in force or which nodes are in a group, so that
-- what is refused as ambiguous is decided one after another.
CREATE TABLE policy_lock (
    one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    last_version INTEGER NOT NULL CHECK (last_version >= 0)
) STRICT;

-- Each time for which a version was put in force. Of those of a kind and scope that cover an instant the last one holds.
CREATE TABLE policy_activations (
    kind          TEXT    NOT NULL,
    scope_key     TEXT    NOT NULL,
    activation_no INTEGER NOT NULL CHECK (activation_no >= 1),
    policy_id     BLOB    NOT NULL,
    from_at       INTEGER NOT NULL,
    until_at      INTEGER,
    actor         TEXT    NOT NULL,
    activated_at  INTEGER NOT NULL,
    ended_by      TEXT, -- who rolled it back, and why
    end_reason    TEXT,
    PRIMARY KEY (kind, scope_key, activation_no)
) STRICT;
