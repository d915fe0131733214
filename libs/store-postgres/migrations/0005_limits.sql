-- Rates of concurrency limits, limits for each value of a key, and what becomes of a run that finds no slot. All columns
-- have constant defaults, so that the version before serves on meanwhile.
ALTER TABLE concurrency_limits
    ADD COLUMN has_slots boolean NOT NULL DEFAULT TRUE, -- false: only the rate binds
    ADD COLUMN max_starts bigint, -- the rate: so many starts in each period; NULL: there is none
    ADD COLUMN period bigint, -- microseconds
    ADD COLUMN burst bigint,
    ADD COLUMN on_collision text COLLATE "C" NOT NULL DEFAULT 'WAIT',
    ADD CONSTRAINT concurrency_limits_rate_is_whole CHECK (num_nulls(max_starts, period, burst) IN (0, 3));

ALTER TABLE concurrency_slots
    ADD COLUMN asked smallint NOT NULL DEFAULT 0, -- 1: its run is to be asked to give way; 2: it was
    ADD COLUMN for_run uuid; -- of a lease: the run whose code took it, as it said

-- concurrency_slots/to_ask.sql
CREATE INDEX concurrency_slots_to_ask ON concurrency_slots (owner) WHERE asked = 1;

ALTER TABLE concurrency_waits
    ADD COLUMN expires_at bigint; -- no run waits, but who wants a lease, until this time unless it is heard of; NULL: a run
-- concurrency_waits/purge_leases.sql
CREATE INDEX concurrency_waits_by_expiry ON concurrency_waits (expires_at) WHERE expires_at IS NOT NULL;

-- What is kept of rates, by the name of the limit or of the value that a template binds.
CREATE TABLE concurrency_rates (
    arrival bigint NOT NULL, -- nanoseconds since 1970-01-01: the theoretical arrival time of the algorithm
    namespace text COLLATE "C" NOT NULL,
    limit_name text COLLATE "C" NOT NULL,
    CONSTRAINT concurrency_rates_pkey PRIMARY KEY (namespace, limit_name)
) WITH (fillfactor = 50);

-- concurrency_rates/purge.sql
CREATE INDEX concurrency_rates_by_arrival ON concurrency_rates (arrival);
