-- What the server itself does when something happens to a run.
CREATE TABLE automations (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    states TEXT NOT NULL, -- a JSON array: it is set off by these
    state_names TEXT NOT NULL, -- or by these
    filter TEXT NOT NULL, -- which runs; '': all
    each_attempt INTEGER NOT NULL, -- also by the end of an attempt that is not that of the run
    action BLOB NOT NULL, -- tidegate.v1.Webhook; it has secrets
    is_paused INTEGER NOT NULL,
    n_succeeded INTEGER NOT NULL,
    n_given_up INTEGER NOT NULL,
    last_error TEXT NOT NULL, -- '': the last try succeeded, or there was none
    last_succeeded_at INTEGER,
    revision BLOB NOT NULL, -- new with every change of what was set
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name),
    CONSTRAINT automations_set_off_by_something CHECK (states <> '[]' OR state_names <> '[]')
) STRICT;

-- automations/may_be_set_off.sql, automation_firings/insert.sql, automation_firings/due.sql
CREATE INDEX automations_set_off ON automations (namespace, name) WHERE NOT is_paused;

-- What was set off and is still to be done, with the event that did so.
CREATE TABLE automation_firings (
    namespace TEXT NOT NULL,
    automation TEXT NOT NULL,
    run_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL,
    state_name TEXT NOT NULL,
    message TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    is_filtered INTEGER NOT NULL, -- the filter was asked, or there is none: nobody takes it before
    n_tries INTEGER NOT NULL,
    last_error TEXT NOT NULL, -- '': no try has failed
    due_at INTEGER NOT NULL, -- when it is to be taken; of one that is being carried out: when that counts as lost
    given_up_at INTEGER, -- NULL: it was not; else `due_at` is the same
    PRIMARY KEY (namespace, automation, run_id, seq),
    CONSTRAINT automation_firings_due_at_is_given_up_at CHECK (given_up_at = due_at)
) STRICT;

-- automation_firings/due.sql
CREATE INDEX automation_firings_by_due ON automation_firings (namespace, automation, due_at, run_id, seq)
    WHERE given_up_at IS NULL AND is_filtered;
-- automation_firings/to_filter.sql
CREATE INDEX automation_firings_to_filter ON automation_firings (due_at, run_id, seq) WHERE NOT is_filtered;
-- automation_firings/purge.sql
CREATE INDEX automation_firings_by_given_up ON automation_firings (given_up_at) WHERE given_up_at IS NOT NULL;
