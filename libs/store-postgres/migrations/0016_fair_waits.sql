-- Those who wait for a limit take turns by fairness key, and have what they are handed out for kept for a while. All columns
-- have constant defaults, so that the version before serves on meanwhile: whom it has wait has no key and comes first, as
-- does who waits already.
ALTER TABLE concurrency_waits
    ADD COLUMN turn bigint NOT NULL DEFAULT 0, -- among those of the priority: the smaller is served first
    ADD COLUMN reserved_until bigint NOT NULL DEFAULT 0, -- of what was handed out: until when something is kept for it
    ADD COLUMN fairness_key text COLLATE "C" NOT NULL DEFAULT ''; -- '': it has none

-- concurrency_waits/hand_out.sql, concurrency_waits/put.sql, concurrency_waits/put_lease.sql: whose turn it is
CREATE INDEX concurrency_waits_by_turn
    ON concurrency_waits (namespace, limit_name, priority DESC, turn, due_at, run_id)
    WHERE handed_at = 0;

-- concurrency_waits/put.sql, concurrency_waits/put_lease.sql, concurrency_waits/end.sql, concurrency_waits/hand_out.sql: the
-- turns of a key
CREATE INDEX concurrency_waits_of_keys_by_turn
    ON concurrency_waits (namespace, limit_name, priority, fairness_key, turn)
    WHERE handed_at = 0;

-- concurrency_waits/hand_out.sql: who of a key is served with its turn
CREATE INDEX concurrency_waits_of_keys_by_due
    ON concurrency_waits (namespace, limit_name, priority, fairness_key, due_at, run_id)
    WHERE handed_at = 0;

-- concurrency_waits/count_line.sql, concurrency_waits/hand_out.sql, concurrency_waits/first_lapse.sql
CREATE INDEX concurrency_waits_reserved
    ON concurrency_waits (namespace, limit_name, reserved_until)
    WHERE reserved_until > 0;
