-- concurrency_waits/count_before.sql
CREATE INDEX concurrency_waits_of_leases
    ON concurrency_waits (namespace, limit_name, due_at, run_id)
    WHERE expires_at IS NOT NULL;
