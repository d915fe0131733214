-- What the server itself does when something happens to a run.
CREATE TABLE automations (
    revision uuid NOT NULL, -- new with every change of what was set
    n_succeeded bigint NOT NULL,
    n_given_up bigint NOT NULL,
    last_succeeded_at bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    is_paused boolean NOT NULL,
    each_attempt boolean NOT NULL, -- also by the end of an attempt that is not that of the run
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL,
    filter text COLLATE "C" NOT NULL, -- which runs; '': all
    last_error text COLLATE "C" NOT NULL, -- '': the last try succeeded, or there was none
    states text[] COLLATE "C" NOT NULL, -- it is set off by these
    state_names text[] COLLATE "C" NOT NULL, -- or by these
    action bytea NOT NULL, -- tidegate.v1.Webhook; it has secrets
    CONSTRAINT automations_pkey PRIMARY KEY (namespace, name),
    CONSTRAINT automations_set_off_by_something CHECK (states <> '{}' OR state_names <> '{}')
) WITH (fillfactor = 50); -- few rows, each written as its firings are finished

-- run_events/append.sql, automation_firings/take.sql
CREATE INDEX automations_set_off ON automations (namespace, name) WHERE NOT is_paused;

-- What was set off and is still to be done, with the event that did so. Not partitioned: a firing is gone long before its
-- run is, or outlives it for some days.
CREATE TABLE automation_firings (
    run_id uuid NOT NULL,
    seq bigint NOT NULL,
    occurred_at bigint NOT NULL,
    due_at bigint NOT NULL, -- when it is to be taken; of one that is being carried out: when that counts as lost
    given_up_at bigint, -- NULL: it was not; else `due_at` is the same
    attempt bigint NOT NULL,
    n_tries bigint NOT NULL,
    ended boolean NOT NULL,
    is_filtered boolean NOT NULL, -- the filter was asked, or there is none: nobody takes it before
    namespace text COLLATE "C" NOT NULL,
    automation text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    state_name text COLLATE "C" NOT NULL,
    message text COLLATE "C" NOT NULL,
    last_error text COLLATE "C" NOT NULL, -- '': no try has failed
    CONSTRAINT automation_firings_pkey PRIMARY KEY (namespace, automation, run_id, seq),
    CONSTRAINT automation_firings_due_at_is_given_up_at CHECK (given_up_at = due_at)
)
-- A row is written again as it is taken, and then deleted. A vacuum soon keeps the indexes free of dead entries.
WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

-- automation_firings/take.sql
CREATE INDEX automation_firings_by_due ON automation_firings (namespace, automation, due_at, run_id, seq)
    WHERE given_up_at IS NULL AND is_filtered;
-- automation_firings/to_filter.sql
CREATE INDEX automation_firings_to_filter ON automation_firings (due_at, run_id, seq) WHERE NOT is_filtered;
-- automation_firings/purge.sql
CREATE INDEX automation_firings_by_given_up ON automation_firings (given_up_at) WHERE given_up_at IS NOT NULL;
