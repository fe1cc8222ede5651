"""The functions of the schema: appending to the outbox, and what a reader may do.

All run as the schema's owner with a pinned search path, so that a service or reader role needs no
right on the tables beneath: nobody can insert past the lane locks, or move another's rows.
"""

from __future__ import annotations

from waybill.messaging.adapters.postgres.schema import LANE_LOCK_CLASS
from waybill.messaging.core.sqlstate import CLAIM_REFUSED

# Protocol O1-O3. VOLATILE plpgsql under READ COMMITTED: every statement has its own snapshot, and
# nextval stands above the sub-select that sorts, so numbers are drawn under the locks and in
# append order. `synchronous_commit` is only ever raised: remote_apply stays.
#
# What the messages of a batch share comes once: the arrays `kind_*`. `places` has the message's
# kind (from 0) times 32 plus its lane. The columns behind `payloads` may be NULL as a whole.
# A NULL correlation id means the key. Half the arrays is half the work on both sides.
#
# `numbers` are the messages' seqs in append order; `befores` has, for each lane that was locked,
# the highest seq that stood in it before. Nobody else can number in the lane until the commit, so
# a reader that is as far as there misses nothing if it is handed the messages themselves.
# Plans are kept per session, perhaps from when the table was empty: only the index is right.
APPEND = f"""
CREATE FUNCTION messaging.outbox_append(
    places integer[], ids uuid[], keys text[], payloads bytea[], aggregate_versions bigint[],
    correlation_ids text[], causation_ids uuid[], traceparents text[], headers text[],
    kind_topics text[], kind_types text[], kind_versions integer[], kind_aggregate_types text[],
    kind_producers text[], kind_occurred_ats timestamptz[]
) RETURNS TABLE (numbers bigint[], locked_lanes integer[], befores bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    locked integer;
BEGIN
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM set_config('idle_in_transaction_session_timeout', '2s', true),
            set_config('lock_timeout', '5s', true);
    FOR locked IN SELECT DISTINCT place & 31 FROM unnest(places) AS place ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock({LANE_LOCK_CLASS}, locked);
        locked_lanes := locked_lanes || locked;
        befores := befores || coalesce((
            SELECT o.seq FROM messaging.outbox AS o WHERE o.lane = locked::smallint
            ORDER BY o.seq DESC LIMIT 1
        ), 0);
    END LOOP;
    WITH inserted AS (
        INSERT INTO messaging.outbox (
            seq, lane, id, aggregatetype, aggregateid, type, payload, version, aggregate_version,
            topic, correlation_id, causation_id, traceparent, producer, headers, occurred_at
    )
        SELECT nextval('messaging.outbox_seq'), sorted.place & 31, sorted.id, sorted.aggregate_type,
               sorted.key, sorted.type, sorted.payload, sorted.version, sorted.aggregate_version,
               sorted.topic, coalesce(sorted.correlation_id, sorted.key), sorted.causation_id,
               sorted.traceparent, sorted.producer, coalesce(sorted.header, '{{}}'),
               sorted.occurred_at
        FROM (
            SELECT * FROM unnest(
                places, ids, keys, payloads, aggregate_versions, correlation_ids, causation_ids,
                traceparents, headers
            ) WITH ORDINALITY AS appended (
                place, id, key, payload, aggregate_version, correlation_id, causation_id,
                traceparent, header, ordinal
            ) JOIN unnest(
                kind_topics, kind_types, kind_versions, kind_aggregate_types, kind_producers,
                kind_occurred_ats
            ) WITH ORDINALITY AS kinds (
                topic, type, version, aggregate_type, producer, occurred_at, kind
            ) ON kinds.kind = (appended.place >> 5) + 1
            ORDER BY ordinal
        ) AS sorted
        RETURNING seq
    )
    SELECT array_agg(inserted.seq ORDER BY inserted.seq) INTO numbers FROM inserted;
    RETURN NEXT;
END
$$
"""  # noqa: S608 - the only thing put in is a constant

# Protocol D3-D6 and O6. The meta row's lock makes registration and the end of a partition's
# removal exclude each other. While upkeep detaches a partition its rows are invisible, though it
# may still come back: a reader that asks for rows there waits (55P03, transient) instead of
# passing over them. `known` tells whether this reader already held retention back: if not, a
# position below the horizon means that rows may be gone. NULL positions: keep the registered
# ones, or start at the horizon.
REGISTER = """
CREATE FUNCTION messaging.register_reader(
    reader text, reader_topics text[], reader_positions bigint[],
    reader_start bigint[] DEFAULT NULL
) RETURNS TABLE (
    known boolean, horizon bigint, horizon_at timestamptz, last_seq bigint,
    system_identifier text, timeline integer, start bigint[], positions bigint[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    meta messaging.outbox_meta;
    was messaging.outbox_reader;
    had boolean;
    wanted bigint[];
BEGIN
    SELECT * INTO STRICT meta FROM messaging.outbox_meta FOR UPDATE;
    SELECT * INTO was FROM messaging.outbox_reader AS r WHERE r.consumer = reader FOR UPDATE;
    had := FOUND;
    wanted := coalesce(reader_positions, was.positions,
        array_fill(coalesce(meta.detaching, meta.horizon) - 1, ARRAY[17]));
    IF EXISTS (
        SELECT FROM unnest(wanted, was.positions) AS lane (new, old)
        WHERE new < coalesce(old, meta.detaching - 1) AND new < meta.detaching - 1
    ) THEN
        RAISE EXCEPTION 'outbox rows below % are being dropped: register again in a moment',
            meta.detaching USING ERRCODE = 'lock_not_available';
    END IF;
    INSERT INTO messaging.outbox_reader AS r (consumer, topics, start, positions)
    VALUES (reader, reader_topics, coalesce(reader_start, wanted), wanted)
    ON CONFLICT (consumer) DO UPDATE SET
        topics = excluded.topics, positions = excluded.positions,
        start = coalesce(reader_start, r.start), seen_at = clock_timestamp();
    RETURN QUERY
        SELECT had, coalesce(meta.detaching, meta.horizon), meta.horizon_at,
               CASE WHEN s.is_called THEN s.last_value ELSE 0 END,
               (SELECT c.system_identifier::text FROM pg_control_system() AS c),
               ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer,
               r.start, r.positions
        FROM messaging.outbox_seq AS s, messaging.outbox_reader AS r
        WHERE r.consumer = reader;
END
$$
"""

# `known` is false once an operator has forgotten the reader: register again.
REPORT = """
CREATE FUNCTION messaging.report_positions(reader text, reader_positions bigint[])
RETURNS TABLE (known boolean, horizon bigint, horizon_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    had boolean;
BEGIN
    UPDATE messaging.outbox_reader AS r
    SET positions = reader_positions, seen_at = clock_timestamp()
    WHERE r.consumer = reader;
    had := FOUND;
    RETURN QUERY SELECT had, m.horizon, m.horizon_at FROM messaging.outbox_meta AS m;
END
$$
"""

# An error has no answer that its caller must wait for before it goes on: see ports.execute_ahead.
REQUIRE_CLAIM = f"""
CREATE OR REPLACE FUNCTION messaging.require_claim(is_granted boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF is_granted IS NOT TRUE THEN
        RAISE EXCEPTION 'not every message is new, or another member reads now'
        USING ERRCODE = '{CLAIM_REFUSED}';
    END IF;
END
$$
"""

FUNCTIONS = (
    APPEND,
    REGISTER,
    REPORT,
    "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA messaging FROM PUBLIC",
)
