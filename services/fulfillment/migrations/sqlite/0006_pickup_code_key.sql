-- The fingerprint of the key under which pickup codes are hashed: with another key no code of this database opens anything.
CREATE TABLE pickup_code_key (
    one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    fingerprint BLOB    NOT NULL,
    noted_at    INTEGER NOT NULL
) STRICT;
