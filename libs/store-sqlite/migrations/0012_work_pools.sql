-- Where and how runs of deployments are started.
CREATE TABLE work_pools (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    spec BLOB NOT NULL, -- tidegate.v1.WorkPoolSpec
    paused_at INTEGER, -- NULL: it is not paused
    paused_by TEXT CONSTRAINT work_pools_paused_by_only_if_paused CHECK (paused_by IS NULL OR paused_at IS NOT NULL),
    pause_reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

-- The work pool that the specification names.
ALTER TABLE deployments ADD COLUMN work_pool TEXT;

-- work_pools/deployment.sql
CREATE INDEX deployments_by_work_pool ON deployments (namespace, work_pool) WHERE work_pool IS NOT NULL;

-- The pool whose workers get a run, and what they are to start for it: tidegate.v1.Job.
ALTER TABLE runs ADD COLUMN work_pool TEXT;
ALTER TABLE runs ADD COLUMN job BLOB;
