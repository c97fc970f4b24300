-- The shop's own tables, in a schema of their own beside Paidonce's.
CREATE SCHEMA IF NOT EXISTS shop;

CREATE TABLE IF NOT EXISTS shop.stock (
    item text PRIMARY KEY,
    pieces integer NOT NULL CHECK (pieces >= 0)
);

CREATE TABLE IF NOT EXISTS shop.orders (
    id uuid PRIMARY KEY,
    customer text NOT NULL,
    email text NOT NULL,
    item text NOT NULL,
    pieces integer NOT NULL CHECK (pieces > 0),
    state text NOT NULL DEFAULT 'placed' CHECK (state IN ('placed', 'reserved', 'sold_out')),
    receipt_sent boolean NOT NULL DEFAULT false
);

-- What left the shelf, appended. Nothing here forbids a second row for an order: whoever did it twice would be seen.
CREATE TABLE IF NOT EXISTS shop.movements (
    order_id uuid NOT NULL,
    item text NOT NULL,
    pieces integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO shop.stock VALUES ('tea', 100000), ('ink', 3) ON CONFLICT DO NOTHING;
