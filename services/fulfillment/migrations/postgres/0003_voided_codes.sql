-- Codes that opened a fulfillment order once: they are answered as void and do not count as wrong guesses.
CREATE TABLE voided_codes (
    node_id        TEXT   COLLATE "C" NOT NULL,
    digest         BYTEA  NOT NULL,
    fulfillment_id UUID   NOT NULL,
    voided_at      BIGINT NOT NULL,
    PRIMARY KEY (node_id, digest)
);
CREATE INDEX voided_codes_by_time ON voided_codes (voided_at);
