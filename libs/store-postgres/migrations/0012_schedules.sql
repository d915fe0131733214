-- When deployments are started by the clock, and how far each of these schedules has come.
CREATE TABLE schedules (
    id uuid NOT NULL,
    version bigint NOT NULL,
    next_fire_at bigint, -- NULL: it does not fire
    last_fire_at bigint,
    last_run_id uuid,
    missed_count bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    paused_at bigint, -- NULL: it is not paused
    namespace text COLLATE "C" NOT NULL,
    deployment text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    paused_by text COLLATE "C",
    pause_reason text COLLATE "C" NOT NULL,
    last_error text COLLATE "C",
    spec bytea NOT NULL, -- tidegate.v1.ScheduleSpec
    CONSTRAINT schedules_pkey PRIMARY KEY (namespace, deployment, name),
    CONSTRAINT schedules_paused_by_only_if_paused CHECK (paused_by IS NULL OR paused_at IS NOT NULL),
    CONSTRAINT schedules_fires_only_if_not_paused CHECK (paused_at IS NULL OR next_fire_at IS NULL)
)
-- Each time that comes is a new version of the row. The time is in an index, so that none of them is hot; a vacuum soon
-- keeps the front of the index, where the sweep begins, free of dead entries.
WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- schedules/sweep.sql, schedules/next.sql
CREATE INDEX schedules_by_next_fire ON schedules (next_fire_at) WHERE next_fire_at IS NOT NULL;
-- schedules/advance.sql
CREATE UNIQUE INDEX schedules_by_id ON schedules (id);

-- The schedule that made a run, and the time that it was made for. Without defaults: rows are not rewritten, and the
-- version before this one goes on.
ALTER TABLE runs
    ADD COLUMN schedule text COLLATE "C",
    ADD COLUMN fire_at bigint;
