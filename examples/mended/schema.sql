CREATE TABLE payments (
    id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    key     text NOT NULL UNIQUE,
    amount  bigint NOT NULL,
    currency text NOT NULL,
    method  text NOT NULL,
    status  text NOT NULL DEFAULT 'pending'
);

CREATE TABLE outbox (
    id      bigserial PRIMARY KEY,
    payment uuid NOT NULL REFERENCES payments,
    sent    boolean NOT NULL DEFAULT false
);
CREATE INDEX ON outbox (id) WHERE NOT sent;
