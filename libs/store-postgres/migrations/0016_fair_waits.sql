-- Those who wait for a limit take turns by fairness key, and have what they are handed out for kept for a while. All columns
-- have constant defaults, so that the version before serves on meanwhile: whom it has wait has no key and comes first, as
-- does who waits already.
ALTER TABLE concurrency_waits
    ADD COLUMN turn bigint NOT NULL DEFAULT 0, -- among those of the priority: the smaller is served first
    -- Of what was handed out: until when something is kept for it; negative: it came not, and another was let through for that.
    ADD COLUMN reserved_until bigint NOT NULL DEFAULT 0,
    ADD COLUMN fairness_key text COLLATE "C" NOT NULL DEFAULT ''; -- '': it has none

-- concurrency_waits/hand_out.sql: whose turn it is
CREATE INDEX concurrency_waits_by_turn
    ON concurrency_waits (namespace, limit_name, priority DESC, turn, due_at, run_id)
    WHERE handed_at = 0;

-- concurrency_waits/hand_out.sql, concurrency_waits_last_turn, concurrency_waits_next: the turns of a key
CREATE INDEX concurrency_waits_of_keys_by_turn
    ON concurrency_waits (namespace, limit_name, priority, fairness_key, turn)
    WHERE handed_at = 0;

-- concurrency_waits/hand_out.sql: who of a key is served with its turn
CREATE INDEX concurrency_waits_of_keys_by_due
    ON concurrency_waits (namespace, limit_name, priority, fairness_key, due_at, run_id)
    WHERE handed_at = 0;

-- concurrency_waits_first_turn
CREATE INDEX concurrency_waits_of_runs_by_turn
    ON concurrency_waits (namespace, limit_name, priority, turn)
    WHERE handed_at = 0 AND expires_at IS NULL;

-- concurrency_waits/count_line.sql, concurrency_waits/hand_out.sql, concurrency_waits/first_lapse.sql,
-- concurrency_waits/use_lapses.sql
CREATE INDEX concurrency_waits_reserved
    ON concurrency_waits (namespace, limit_name, reserved_until)
    WHERE reserved_until <> 0;

-- The first and the last of a long line are read from the end of an index, also where the planner knows nothing of the table
-- yet, or knew it empty, and takes reading and sorting all of it for as cheap: hence functions, which may say otherwise for
-- themselves alone.

-- concurrency_waits/put.sql, concurrency_waits/put_lease.sql: the first turn of a run among those of a priority
CREATE FUNCTION concurrency_waits_first_turn(in_namespace text, of_limit text, of_priority integer) RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_sort = off AS $$
BEGIN
    RETURN (
        SELECT turn
        FROM concurrency_waits
        WHERE namespace = in_namespace
            AND limit_name = of_limit
            AND priority = of_priority
            AND handed_at = 0
            AND expires_at IS NULL
        ORDER BY turn
        LIMIT 1
    );
END
$$;

-- concurrency_waits/put.sql, concurrency_waits/put_lease.sql: the last turn of a key
CREATE FUNCTION concurrency_waits_last_turn(in_namespace text, of_limit text, of_priority integer, of_key text)
RETURNS bigint LANGUAGE plpgsql STABLE SET enable_sort = off AS $$
BEGIN
    RETURN (
        SELECT turn
        FROM concurrency_waits
        WHERE namespace = in_namespace
            AND limit_name = of_limit
            AND priority = of_priority
            AND fairness_key = of_key
            AND handed_at = 0
        ORDER BY turn DESC
        LIMIT 1
    );
END
$$;

-- concurrency_waits/end.sql, concurrency_waits/end_lease.sql, concurrency_waits/purge_leases.sql: who comes next of a key from a turn on, but for those that leave
CREATE FUNCTION concurrency_waits_next(
    in_namespace text, of_limit text, of_priority integer, of_key text, from_turn bigint, without uuid[]
) RETURNS uuid LANGUAGE plpgsql STABLE SET enable_sort = off AS $$
BEGIN
    RETURN (
        SELECT run_id
        FROM concurrency_waits
        WHERE namespace = in_namespace
            AND limit_name = of_limit
            AND priority = of_priority
            AND fairness_key = of_key
            AND handed_at = 0
            AND turn >= from_turn
            AND run_id <> ALL(without)
        ORDER BY turn
        LIMIT 1
    );
END
$$;
