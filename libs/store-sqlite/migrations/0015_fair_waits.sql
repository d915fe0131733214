-- Those who wait for a limit take turns by fairness key, and have what they are handed out for kept for a while. Who waits
-- already has no key and comes first.
ALTER TABLE concurrency_waits ADD COLUMN fairness_key TEXT NOT NULL DEFAULT ''; -- '': it has none
-- Among those of the priority: the smaller is served first.
ALTER TABLE concurrency_waits ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
-- Of what was handed out: until when something is kept for it; negative: it came not, and another was let through for that.
ALTER TABLE concurrency_waits ADD COLUMN reserved_until INTEGER NOT NULL DEFAULT 0;

-- concurrency_waits/pick.sql: whose turn it is
CREATE INDEX concurrency_waits_by_turn
    ON concurrency_waits (namespace, limit_name, priority DESC, turn, due_at, run_id)
    WHERE handed_at = 0;

-- concurrency_waits/put.sql, concurrency_waits/put_lease.sql, concurrency_waits/move_up.sql: the turns of a key
CREATE INDEX concurrency_waits_of_keys_by_turn
    ON concurrency_waits (namespace, limit_name, priority, fairness_key, turn)
    WHERE handed_at = 0;

-- concurrency_waits/choose.sql: who of a key is served with its turn
CREATE INDEX concurrency_waits_of_keys_by_due
    ON concurrency_waits (namespace, limit_name, priority, fairness_key, due_at, run_id)
    WHERE handed_at = 0;

-- concurrency_waits/put.sql, concurrency_waits/put_lease.sql: the first of the runs
CREATE INDEX concurrency_waits_of_runs_by_turn
    ON concurrency_waits (namespace, limit_name, priority, turn)
    WHERE handed_at = 0 AND expires_at IS NULL;

-- concurrency_waits/count_line.sql, concurrency_waits/room.sql, concurrency_waits/first_lapse.sql,
-- concurrency_waits/use_lapses.sql
CREATE INDEX concurrency_waits_reserved
    ON concurrency_waits (namespace, limit_name, reserved_until)
    WHERE reserved_until <> 0;
