CREATE TABLE payments (
    id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    key     text NOT NULL,
    amount  bigint NOT NULL,
    currency text NOT NULL,
    method  text NOT NULL,
    status  text NOT NULL DEFAULT 'pending'
);
CREATE INDEX ON payments (key);

CREATE TABLE outbox (
    id      bigserial PRIMARY KEY,
    payment uuid NOT NULL REFERENCES payments
);

CREATE TABLE relay_position (last bigint NOT NULL);
INSERT INTO relay_position VALUES (0);
