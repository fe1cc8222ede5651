-- Run once in each service's database as its superuser: psql -v ON_ERROR_STOP=1
-- -v password=... -f prepare.sql. Needs wal_level=logical. Set max_slot_wal_keep_size, or a
-- connector that is gone fills the disk. The role is one for all databases of the server.
SELECT 'CREATE ROLE waybill_cdc LOGIN REPLICATION'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'waybill_cdc') \gexec
ALTER ROLE waybill_cdc LOGIN REPLICATION PASSWORD :'password';
SELECT format('GRANT CONNECT ON DATABASE %I TO waybill_cdc', current_database()) \gexec
GRANT USAGE ON SCHEMA messaging TO waybill_cdc;
GRANT SELECT ON messaging.outbox TO waybill_cdc;
-- The partitions' rows come as the root's: one table for the connector, new partitions included.
-- Only inserts: rows are never updated, and a dropped partition is no event.
SET client_min_messages = warning;
DROP PUBLICATION IF EXISTS waybill_outbox;
CREATE PUBLICATION waybill_outbox FOR TABLE messaging.outbox
    WITH (publish = 'insert', publish_via_partition_root = true);
