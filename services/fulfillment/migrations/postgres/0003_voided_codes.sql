-- Codes that opened a fulfillment order and do not any more: whoever shows one is told so, and is not taken for a guesser.
CREATE TABLE voided_codes (
    node_id        TEXT   COLLATE "C" NOT NULL,
    digest         BYTEA  NOT NULL,
    fulfillment_id UUID   NOT NULL,
    voided_at      BIGINT NOT NULL,
    PRIMARY KEY (node_id, digest)
);
CREATE INDEX voided_codes_by_time ON voided_codes (voided_at);
