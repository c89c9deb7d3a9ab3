-- The fingerprint of the key under which pickup codes are hashed: with another key no code of this database opens anything.
CREATE TABLE pickup_code_key (
    one         BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    fingerprint BYTEA  NOT NULL,
    noted_at    BIGINT NOT NULL
);
