-- Rates of concurrency limits, limits for each value of a key, and what becomes of a run that finds no slot.
ALTER TABLE concurrency_limits ADD COLUMN has_slots INTEGER NOT NULL DEFAULT 1; -- 0: only the rate binds
ALTER TABLE concurrency_limits ADD COLUMN max_starts INTEGER; -- the rate: so many in each period; unset: there is none
ALTER TABLE concurrency_limits ADD COLUMN period INTEGER; -- microseconds
ALTER TABLE concurrency_limits ADD COLUMN burst INTEGER;
ALTER TABLE concurrency_limits ADD COLUMN on_collision TEXT NOT NULL DEFAULT 'WAIT';

ALTER TABLE concurrency_slots ADD COLUMN asked INTEGER NOT NULL DEFAULT 0; -- 1: its run is to be asked to give way; 2: it was
ALTER TABLE concurrency_slots ADD COLUMN for_run BLOB; -- of a lease: the run whose code took it, as it said

-- concurrency_slots/to_ask.sql
CREATE INDEX concurrency_slots_to_ask ON concurrency_slots (owner) WHERE asked = 1;

-- No run waits, but who wants a lease, until this time unless it is heard of; unset: a run.
ALTER TABLE concurrency_waits ADD COLUMN expires_at INTEGER;
-- concurrency_waits/purge_leases.sql
CREATE INDEX concurrency_waits_by_expiry ON concurrency_waits (expires_at) WHERE expires_at IS NOT NULL;

-- What is kept of rates, by the name of the limit or of the value that a template binds.
CREATE TABLE concurrency_rates (
    namespace TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    arrival INTEGER NOT NULL, -- nanoseconds since 1970-01-01: the theoretical arrival time of the algorithm
    PRIMARY KEY (namespace, limit_name)
) STRICT, WITHOUT ROWID;

-- concurrency_rates/purge.sql
CREATE INDEX concurrency_rates_by_arrival ON concurrency_rates (arrival);
