-- Where and how runs of deployments are started.
CREATE TABLE work_pools (
    version bigint NOT NULL,
    paused_at bigint, -- NULL: it is not paused
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    paused_by text COLLATE "C",
    pause_reason text COLLATE "C" NOT NULL,
    spec bytea NOT NULL, -- tidegate.v1.WorkPoolSpec
    CONSTRAINT work_pools_pkey PRIMARY KEY (namespace, name),
    CONSTRAINT work_pools_paused_by_only_if_paused CHECK (paused_by IS NULL OR paused_at IS NOT NULL)
);

-- The work pool that the specification names.
ALTER TABLE deployments ADD COLUMN work_pool text COLLATE "C";

-- work_pools/deployment.sql
CREATE INDEX deployments_by_work_pool ON deployments (namespace, work_pool) WHERE work_pool IS NOT NULL;

-- The pool whose workers get a run, and what they are to start for it: tidegate.v1.Job.
ALTER TABLE runs
    ADD COLUMN work_pool text COLLATE "C",
    ADD COLUMN job bytea;
