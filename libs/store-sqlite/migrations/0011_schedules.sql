-- When deployments are started by the clock, and how far each of these schedules has come.
CREATE TABLE schedules (
    namespace TEXT NOT NULL,
    deployment TEXT NOT NULL,
    name TEXT NOT NULL,
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    spec BLOB NOT NULL, -- tidegate.v1.ScheduleSpec
    paused_at INTEGER, -- NULL: it is not paused
    paused_by TEXT,
    pause_reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    next_fire_at INTEGER, -- NULL: it does not fire
    last_fire_at INTEGER,
    last_run_id BLOB,
    missed_count INTEGER NOT NULL,
    last_error TEXT,
    PRIMARY KEY (namespace, deployment, name),
    CHECK (paused_by IS NULL OR paused_at IS NOT NULL),
    CHECK (paused_at IS NULL OR next_fire_at IS NULL)
) STRICT;

-- schedules/sweep.sql, schedules/next.sql
CREATE INDEX schedules_by_next_fire ON schedules (next_fire_at) WHERE next_fire_at IS NOT NULL;
-- schedules/advance.sql
CREATE UNIQUE INDEX schedules_by_id ON schedules (id);

-- The schedule that made a run, and the time that it was made for.
ALTER TABLE runs ADD COLUMN schedule TEXT;
ALTER TABLE runs ADD COLUMN fire_at INTEGER;
