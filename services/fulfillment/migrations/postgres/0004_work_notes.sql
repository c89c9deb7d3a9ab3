-- What stores said in their own words; it may name people, so no event tells it.
CREATE TABLE work_notes (
    fulfillment_id UUID   NOT NULL REFERENCES fulfillment_orders (fulfillment_id),
    version        BIGINT NOT NULL,
    note           TEXT   NOT NULL,
    actor          TEXT   NOT NULL,
    noted_at       BIGINT NOT NULL,
    PRIMARY KEY (fulfillment_id, version)
);
