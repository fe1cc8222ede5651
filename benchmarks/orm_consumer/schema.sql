CREATE TABLE products (
    id uuid PRIMARY KEY,
    available bigint NOT NULL CHECK (available >= 0),
    reserved bigint NOT NULL DEFAULT 0
);

CREATE TABLE processed (id uuid PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());

CREATE TABLE reservations (
    order_id uuid PRIMARY KEY,
    product_id uuid NOT NULL,
    quantity int NOT NULL
);

CREATE TABLE outbox_events (
    id uuid PRIMARY KEY,
    topic text NOT NULL,
    key text NOT NULL,
    type text NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz
);
