-- Leases of several slots of a limit. The version before counts each as one.
ALTER TABLE concurrency_slots ADD COLUMN n_slots INTEGER NOT NULL DEFAULT 1; -- how many of the limit's slots it is
ALTER TABLE concurrency_waits ADD COLUMN n_slots INTEGER NOT NULL DEFAULT 1; -- how many it waits for
-- concurrency_limits/columns.sql
CREATE INDEX concurrency_waits_for_several ON concurrency_waits (namespace, limit_name) WHERE n_slots > 1;
