-- The same writes an order as Waybill's services make, in one database: one place to commit to.
-- What DBOS keeps itself (idempotency, what was done already) has no table here.
CREATE TABLE products (
    id uuid PRIMARY KEY,
    available bigint NOT NULL CHECK (available >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    sold bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE orders (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL,
    currency varchar(3) NOT NULL,
    total_amount numeric(12,2) NOT NULL,
    lines jsonb NOT NULL,
    status text NOT NULL,
    payment_id uuid,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE order_timeline (
    order_id uuid NOT NULL,
    seq int NOT NULL,
    event text NOT NULL,
    from_status text,
    to_status text,
    at timestamptz NOT NULL,
    PRIMARY KEY (order_id, seq)
);

CREATE TABLE reservations (
    order_id uuid PRIMARY KEY,
    status text NOT NULL,
    quantities jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE stock_ledger (
    product_id uuid NOT NULL,
    order_id uuid NOT NULL,
    kind text NOT NULL,
    d_available bigint NOT NULL,
    d_reserved bigint NOT NULL,
    d_sold bigint NOT NULL,
    at timestamptz NOT NULL,
    UNIQUE (order_id, product_id, kind)
);

CREATE TABLE charges (
    order_id uuid PRIMARY KEY,
    charge_id uuid NOT NULL,
    amount numeric(12,2) NOT NULL,
    currency varchar(3) NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE payments (
    order_id uuid PRIMARY KEY,
    payment_id uuid NOT NULL,
    status text NOT NULL,
    amount numeric(12,2) NOT NULL,
    created_at timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE notifications (
    order_id uuid NOT NULL,
    kind text NOT NULL,
    message text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, kind)
);
