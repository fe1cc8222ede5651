-- Roles and databases of the order platform. Written by: waybill provision --sql
-- Run it as an administrator, with the passwords in the environment: psql -f FILE
-- It may be repeated. The services make their tables themselves: waybill migrate
\set ON_ERROR_STOP on

\getenv order_owner WAYBILL_ORDER_OWNER_PASSWORD
\getenv order_service WAYBILL_ORDER_SERVICE_PASSWORD
\getenv order_reader WAYBILL_ORDER_READER_PASSWORD
\getenv order_auditor WAYBILL_ORDER_AUDITOR_PASSWORD
SELECT 'CREATE ROLE order_owner' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'order_owner') \gexec
ALTER ROLE order_owner LOGIN PASSWORD :'order_owner';
SELECT 'CREATE ROLE order_service' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'order_service') \gexec
ALTER ROLE order_service LOGIN PASSWORD :'order_service';
SELECT 'CREATE ROLE order_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'order_reader') \gexec
ALTER ROLE order_reader LOGIN PASSWORD :'order_reader';
SELECT 'CREATE ROLE order_auditor' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'order_auditor') \gexec
ALTER ROLE order_auditor LOGIN PASSWORD :'order_auditor';
ALTER ROLE order_service SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE order_service SET statement_timeout = '30s';
ALTER ROLE order_reader SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE order_reader SET statement_timeout = '30s';
ALTER ROLE order_auditor SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE order_auditor SET statement_timeout = '30s';
GRANT pg_read_all_stats TO order_owner;
GRANT order_owner TO CURRENT_USER;
SELECT 'CREATE DATABASE orderdb OWNER order_owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'orderdb') \gexec
REVOKE ALL ON DATABASE orderdb FROM PUBLIC;
GRANT CONNECT ON DATABASE orderdb TO order_service, order_reader, order_auditor;
REVOKE order_owner FROM CURRENT_USER;

\getenv inventory_owner WAYBILL_INVENTORY_OWNER_PASSWORD
\getenv inventory_service WAYBILL_INVENTORY_SERVICE_PASSWORD
\getenv inventory_reader WAYBILL_INVENTORY_READER_PASSWORD
\getenv inventory_auditor WAYBILL_INVENTORY_AUDITOR_PASSWORD
SELECT 'CREATE ROLE inventory_owner' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'inventory_owner') \gexec
ALTER ROLE inventory_owner LOGIN PASSWORD :'inventory_owner';
SELECT 'CREATE ROLE inventory_service' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'inventory_service') \gexec
ALTER ROLE inventory_service LOGIN PASSWORD :'inventory_service';
SELECT 'CREATE ROLE inventory_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'inventory_reader') \gexec
ALTER ROLE inventory_reader LOGIN PASSWORD :'inventory_reader';
SELECT 'CREATE ROLE inventory_auditor' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'inventory_auditor') \gexec
ALTER ROLE inventory_auditor LOGIN PASSWORD :'inventory_auditor';
ALTER ROLE inventory_service SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE inventory_service SET statement_timeout = '30s';
ALTER ROLE inventory_reader SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE inventory_reader SET statement_timeout = '30s';
ALTER ROLE inventory_auditor SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE inventory_auditor SET statement_timeout = '30s';
GRANT pg_read_all_stats TO inventory_owner;
GRANT inventory_owner TO CURRENT_USER;
SELECT 'CREATE DATABASE inventorydb OWNER inventory_owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'inventorydb') \gexec
REVOKE ALL ON DATABASE inventorydb FROM PUBLIC;
GRANT CONNECT ON DATABASE inventorydb TO inventory_service, inventory_reader, inventory_auditor;
REVOKE inventory_owner FROM CURRENT_USER;

\getenv payment_owner WAYBILL_PAYMENT_OWNER_PASSWORD
\getenv payment_service WAYBILL_PAYMENT_SERVICE_PASSWORD
\getenv payment_reader WAYBILL_PAYMENT_READER_PASSWORD
\getenv payment_auditor WAYBILL_PAYMENT_AUDITOR_PASSWORD
SELECT 'CREATE ROLE payment_owner' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_owner') \gexec
ALTER ROLE payment_owner LOGIN PASSWORD :'payment_owner';
SELECT 'CREATE ROLE payment_service' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_service') \gexec
ALTER ROLE payment_service LOGIN PASSWORD :'payment_service';
SELECT 'CREATE ROLE payment_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_reader') \gexec
ALTER ROLE payment_reader LOGIN PASSWORD :'payment_reader';
SELECT 'CREATE ROLE payment_auditor' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_auditor') \gexec
ALTER ROLE payment_auditor LOGIN PASSWORD :'payment_auditor';
ALTER ROLE payment_service SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE payment_service SET statement_timeout = '30s';
ALTER ROLE payment_reader SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE payment_reader SET statement_timeout = '30s';
ALTER ROLE payment_auditor SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE payment_auditor SET statement_timeout = '30s';
GRANT pg_read_all_stats TO payment_owner;
GRANT payment_owner TO CURRENT_USER;
SELECT 'CREATE DATABASE paymentdb OWNER payment_owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'paymentdb') \gexec
REVOKE ALL ON DATABASE paymentdb FROM PUBLIC;
GRANT CONNECT ON DATABASE paymentdb TO payment_service, payment_reader, payment_auditor;
REVOKE payment_owner FROM CURRENT_USER;

\getenv notification_owner WAYBILL_NOTIFICATION_OWNER_PASSWORD
\getenv notification_service WAYBILL_NOTIFICATION_SERVICE_PASSWORD
\getenv notification_reader WAYBILL_NOTIFICATION_READER_PASSWORD
\getenv notification_auditor WAYBILL_NOTIFICATION_AUDITOR_PASSWORD
SELECT 'CREATE ROLE notification_owner' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'notification_owner') \gexec
ALTER ROLE notification_owner LOGIN PASSWORD :'notification_owner';
SELECT 'CREATE ROLE notification_service' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'notification_service') \gexec
ALTER ROLE notification_service LOGIN PASSWORD :'notification_service';
SELECT 'CREATE ROLE notification_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'notification_reader') \gexec
ALTER ROLE notification_reader LOGIN PASSWORD :'notification_reader';
SELECT 'CREATE ROLE notification_auditor' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'notification_auditor') \gexec
ALTER ROLE notification_auditor LOGIN PASSWORD :'notification_auditor';
ALTER ROLE notification_service SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE notification_service SET statement_timeout = '30s';
ALTER ROLE notification_reader SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE notification_reader SET statement_timeout = '30s';
ALTER ROLE notification_auditor SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE notification_auditor SET statement_timeout = '30s';
GRANT pg_read_all_stats TO notification_owner;
GRANT notification_owner TO CURRENT_USER;
SELECT 'CREATE DATABASE notificationdb OWNER notification_owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'notificationdb') \gexec
REVOKE ALL ON DATABASE notificationdb FROM PUBLIC;
GRANT CONNECT ON DATABASE notificationdb TO notification_service, notification_reader, notification_auditor;
REVOKE notification_owner FROM CURRENT_USER;

\getenv provider_owner WAYBILL_PROVIDER_OWNER_PASSWORD
\getenv provider_service WAYBILL_PROVIDER_SERVICE_PASSWORD
\getenv provider_reader WAYBILL_PROVIDER_READER_PASSWORD
\getenv provider_auditor WAYBILL_PROVIDER_AUDITOR_PASSWORD
SELECT 'CREATE ROLE provider_owner' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'provider_owner') \gexec
ALTER ROLE provider_owner LOGIN PASSWORD :'provider_owner';
SELECT 'CREATE ROLE provider_service' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'provider_service') \gexec
ALTER ROLE provider_service LOGIN PASSWORD :'provider_service';
SELECT 'CREATE ROLE provider_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'provider_reader') \gexec
ALTER ROLE provider_reader LOGIN PASSWORD :'provider_reader';
SELECT 'CREATE ROLE provider_auditor' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'provider_auditor') \gexec
ALTER ROLE provider_auditor LOGIN PASSWORD :'provider_auditor';
ALTER ROLE provider_service SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE provider_service SET statement_timeout = '30s';
ALTER ROLE provider_reader SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE provider_reader SET statement_timeout = '30s';
ALTER ROLE provider_auditor SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE provider_auditor SET statement_timeout = '30s';
GRANT pg_read_all_stats TO provider_owner;
GRANT provider_owner TO CURRENT_USER;
SELECT 'CREATE DATABASE providerdb OWNER provider_owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'providerdb') \gexec
REVOKE ALL ON DATABASE providerdb FROM PUBLIC;
GRANT CONNECT ON DATABASE providerdb TO provider_service, provider_reader, provider_auditor;
REVOKE provider_owner FROM CURRENT_USER;

\getenv orchestrator_owner WAYBILL_ORCHESTRATOR_OWNER_PASSWORD
\getenv orchestrator_service WAYBILL_ORCHESTRATOR_SERVICE_PASSWORD
\getenv orchestrator_reader WAYBILL_ORCHESTRATOR_READER_PASSWORD
\getenv orchestrator_auditor WAYBILL_ORCHESTRATOR_AUDITOR_PASSWORD
SELECT 'CREATE ROLE orchestrator_owner' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestrator_owner') \gexec
ALTER ROLE orchestrator_owner LOGIN PASSWORD :'orchestrator_owner';
SELECT 'CREATE ROLE orchestrator_service' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestrator_service') \gexec
ALTER ROLE orchestrator_service LOGIN PASSWORD :'orchestrator_service';
SELECT 'CREATE ROLE orchestrator_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestrator_reader') \gexec
ALTER ROLE orchestrator_reader LOGIN PASSWORD :'orchestrator_reader';
SELECT 'CREATE ROLE orchestrator_auditor' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orchestrator_auditor') \gexec
ALTER ROLE orchestrator_auditor LOGIN PASSWORD :'orchestrator_auditor';
ALTER ROLE orchestrator_service SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE orchestrator_service SET statement_timeout = '30s';
ALTER ROLE orchestrator_reader SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE orchestrator_reader SET statement_timeout = '30s';
ALTER ROLE orchestrator_auditor SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE orchestrator_auditor SET statement_timeout = '30s';
GRANT pg_read_all_stats TO orchestrator_owner;
GRANT orchestrator_owner TO CURRENT_USER;
SELECT 'CREATE DATABASE orchestratordb OWNER orchestrator_owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'orchestratordb') \gexec
REVOKE ALL ON DATABASE orchestratordb FROM PUBLIC;
GRANT CONNECT ON DATABASE orchestratordb TO orchestrator_service, orchestrator_reader, orchestrator_auditor;
REVOKE orchestrator_owner FROM CURRENT_USER;
