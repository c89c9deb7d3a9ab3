-- Codes that opened a fulfillment order once: they are answered as void and do not count as wrong guesses.
CREATE TABLE voided_codes (
    node_id        TEXT    NOT NULL,
    digest         BLOB    NOT NULL,
    fulfillment_id BLOB    NOT NULL,
    voided_at      INTEGER NOT NULL,
    PRIMARY KEY (node_id, digest)
) STRICT;
CREATE INDEX voided_codes_by_time ON voided_codes (voided_at);
