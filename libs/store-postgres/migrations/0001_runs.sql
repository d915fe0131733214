-- Instants and spans are bigint microseconds, as in every adapter. Texts compare by their bytes (COLLATE "C"), so
-- that lists order and compare alike on every server. Columns of fixed size come first: they are read fastest there.
--
-- `runs` and the tables of what belongs to a run are partitioned alike, by the time in the run's id (a UUIDv7), so that
-- retention drops tables and deletes few rows. Partitions are made ahead by the program, see partitions.rs; each takes
-- over the storage parameters of the default one, which holds the runs that no partition was made for.

CREATE TABLE runs (
    id uuid NOT NULL,
    root_id uuid NOT NULL,
    depth bigint NOT NULL,
    priority integer NOT NULL,
    created_at bigint NOT NULL,
    due_at bigint NOT NULL,
    state_at bigint NOT NULL,
    epoch bigint NOT NULL,
    attempt bigint NOT NULL,
    crashes bigint NOT NULL,
    retries bigint NOT NULL,
    event_seq bigint NOT NULL,
    cascade_pending boolean NOT NULL,
    -- The policies: read by every transition, so columns and not a document.
    detach_on_cancel boolean NOT NULL,
    detach_on_failure boolean NOT NULL,
    detach_on_crash boolean NOT NULL,
    max_retries bigint NOT NULL,
    backoff_factor double precision NOT NULL,
    max_retry_delay bigint NOT NULL,
    jitter_factor double precision NOT NULL,
    max_crashes bigint NOT NULL,
    start_timeout bigint NOT NULL,
    cancel_grace bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    run_name text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    state_name text COLLATE "C" NOT NULL,
    state_message text COLLATE "C" NOT NULL,
    tags text[] COLLATE "C" NOT NULL,
    retry_delays bigint[] NOT NULL,
    retry_on text[] COLLATE "C" NOT NULL,
    never_retry_on text[] COLLATE "C" NOT NULL,
    concurrency_limits text[] COLLATE "C" NOT NULL,
    resumed_keys text[] COLLATE "C" NOT NULL, -- the pauses that a later attempt does not stop at again
    labels jsonb NOT NULL, -- an object of texts
    queue text COLLATE "C",
    session_id uuid,
    parent_id uuid,
    run_timeout bigint,
    late_after bigint,
    started_at bigint,
    ended_at bigint,
    timer_at bigint, -- when the scheduler has to look at the run
    expires_at bigint,
    enqueued_at bigint, -- when delivery was told; NULL: the sweep is to do it
    holder text COLLATE "C", -- `worker:<id>` or `session:<id>`
    traceparent text COLLATE "C",
    deployment text COLLATE "C", -- `flow/deployment`
    cache_key text COLLATE "C",
    cache_expires_after bigint,
    pause_key text COLLATE "C", -- which pause of the code a PAUSED run is in
    CONSTRAINT runs_pkey PRIMARY KEY (id),
    CONSTRAINT runs_queue_or_session CHECK ((queue IS NULL) <> (session_id IS NULL)),
    CONSTRAINT runs_ended_at_iff_terminal
        CHECK ((ended_at IS NOT NULL) = (state IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED'))),
    -- PAUSED in its process, or without one.
    CONSTRAINT runs_holder_iff_held
        CHECK (state = 'PAUSED' OR (holder IS NOT NULL) = (state IN ('PENDING', 'RUNNING', 'CANCELLING'))),
    CONSTRAINT runs_timer_only_until_end CHECK (timer_at IS NULL OR ended_at IS NULL),
    CONSTRAINT runs_pause_key_only_if_paused CHECK (pause_key IS NULL OR state = 'PAUSED'),
    CONSTRAINT runs_cache_expiry_only_with_key CHECK (cache_expires_after IS NULL OR cache_key IS NOT NULL)
) PARTITION BY RANGE (id);

CREATE TABLE runs_default PARTITION OF runs DEFAULT WITH (
    -- Room for the next version of a row on its own page. Every transition touches an indexed column, so dead
    -- versions wait for a vacuum: it comes after one in fifty rows, not one in five.
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

-- list: a page of a namespace, newest first
CREATE INDEX runs_by_namespace ON runs (namespace, id);
-- list with `root_run_id`: a tree; an uppermost run is found by its id
CREATE INDEX runs_by_root ON runs (root_id, id) WHERE parent_id IS NOT NULL;
-- list with `parent_run_id`: all children; runs/open_below.sql, runs/tree.sql, runs/tree_count.sql
CREATE INDEX runs_by_parent ON runs (parent_id, id) WHERE parent_id IS NOT NULL;
-- list with `state`, and counts
CREATE INDEX runs_by_state ON runs (namespace, state, id);
-- list with `name`, `flow` or `task`, and by name. The dearest of these: the runs of a batch have many names, so that it is
-- written all over.
CREATE INDEX runs_by_name ON runs (namespace, name, id);
-- list by creation
CREATE INDEX runs_by_creation ON runs (namespace, created_at, id);
-- list by start
CREATE INDEX runs_by_start ON runs (namespace, started_at, id) WHERE started_at IS NOT NULL;
-- list by end, and what ended since
CREATE INDEX runs_by_end ON runs (namespace, ended_at, id) WHERE ended_at IS NOT NULL;
-- list with `deployment`
CREATE INDEX runs_by_deployment ON runs (deployment, id) WHERE deployment IS NOT NULL;
-- list with `labels`
CREATE INDEX runs_by_label ON runs USING gin (labels jsonb_path_ops) WHERE labels <> '{}';
-- list with `tags`
CREATE INDEX runs_by_tag ON runs USING gin (tags) WHERE tags <> '{}';
-- runs/sweep_lost_sessions.sql, runs/cancelling_of_session.sql, sessions/purge.sql
CREATE INDEX runs_open_by_session ON runs (session_id, id) WHERE session_id IS NOT NULL AND ended_at IS NULL;
-- runs/sweep_never_enqueued.sql
CREATE INDEX runs_never_enqueued ON runs (due_at)
    WHERE state = 'SCHEDULED' AND queue IS NOT NULL AND enqueued_at IS NULL;
-- runs/sweep_enqueued_before.sql
CREATE INDEX runs_enqueued ON runs (enqueued_at, due_at)
    WHERE state = 'SCHEDULED' AND queue IS NOT NULL AND enqueued_at IS NOT NULL
        AND state_name <> 'AwaitingConcurrencySlot';
-- runs/sweep_timers.sql
CREATE INDEX runs_timers ON runs (timer_at) WHERE timer_at IS NOT NULL;
-- runs/sweep_cascades.sql
CREATE INDEX runs_cascades ON runs (id) WHERE cascade_pending;
-- runs/held.sql
CREATE INDEX runs_held ON runs (id) WHERE queue IS NOT NULL AND holder IS NOT NULL;

-- Encoded tidegate.v1.Payload messages, which no statement looks into. Where the value is in object storage, they have
-- its metadata, and the columns say which object it is.
CREATE TABLE run_payloads (
    run_id uuid NOT NULL,
    object_id uuid,
    object_size bigint,
    kind text COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    object_sha256 bytea,
    CONSTRAINT run_payloads_pkey PRIMARY KEY (run_id, kind),
    CONSTRAINT run_payloads_kind CHECK (kind IN ('parameters', 'result')),
    CONSTRAINT run_payloads_whole_object
        CHECK (num_nulls(object_id, object_size, object_sha256) IN (0, 3))
) PARTITION BY RANGE (run_id);

CREATE TABLE run_payloads_default PARTITION OF run_payloads DEFAULT;

-- payload_objects/take_orphans.sql
CREATE INDEX run_payloads_by_object ON run_payloads (object_id) WHERE object_id IS NOT NULL;

CREATE TABLE run_failures (
    run_id uuid NOT NULL,
    attempt bigint NOT NULL,
    non_retryable boolean NOT NULL,
    error_type text COLLATE "C" NOT NULL,
    message text COLLATE "C" NOT NULL,
    traceback text COLLATE "C" NOT NULL,
    CONSTRAINT run_failures_pkey PRIMARY KEY (run_id, attempt)
) PARTITION BY RANGE (run_id);

CREATE TABLE run_failures_default PARTITION OF run_failures DEFAULT;

-- The questions and answers of pauses: as run_payloads.
CREATE TABLE run_inputs (
    run_id uuid NOT NULL,
    object_id uuid,
    object_size bigint,
    key text COLLATE "C" NOT NULL, -- which pause of the code
    kind text COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    object_sha256 bytea,
    CONSTRAINT run_inputs_pkey PRIMARY KEY (run_id, key, kind),
    CONSTRAINT run_inputs_kind CHECK (kind IN ('request', 'input')),
    CONSTRAINT run_inputs_whole_object CHECK (num_nulls(object_id, object_size, object_sha256) IN (0, 3))
) PARTITION BY RANGE (run_id);

CREATE TABLE run_inputs_default PARTITION OF run_inputs DEFAULT;

-- payload_objects/take_orphans.sql
CREATE INDEX run_inputs_by_object ON run_inputs (object_id) WHERE object_id IS NOT NULL;

-- The objects in object storage. A row is there before its object and after it.
CREATE TABLE payload_objects (
    id uuid NOT NULL,
    size bigint NOT NULL,
    touched_at bigint NOT NULL, -- when it was announced, used by a payload, or last found to be in use
    sha256 bytea NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    CONSTRAINT payload_objects_pkey PRIMARY KEY (id),
    CONSTRAINT payload_objects_state CHECK (state IN ('UPLOADING', 'COMPLETE', 'DELETING'))
);

-- payload_objects/take_orphans.sql
CREATE INDEX payload_objects_by_touch ON payload_objects (touched_at);

-- Append-only: the history of each run, and the feed of all.
--
-- The feed is ordered by (position, id). `position` is at least the id of the transaction that appended the event, so
-- a reader that stops below the oldest transaction under way (pg_snapshot_xmin) never has an event appear behind it.
-- It is also at least the id of every transaction that had ended by then: a transaction that began early and got the
-- lock on a run late would else sort its events before those it waited for. See run_events/append.sql.
CREATE SEQUENCE run_events_id_seq AS bigint; -- one for all partitions

CREATE TABLE run_events (
    run_id uuid NOT NULL,
    root_id uuid NOT NULL,
    seq bigint NOT NULL,
    position bigint NOT NULL,
    id bigint NOT NULL DEFAULT nextval('run_events_id_seq'),
    occurred_at bigint NOT NULL,
    attempt bigint NOT NULL,
    epoch bigint NOT NULL,
    ended boolean NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    state_name text COLLATE "C" NOT NULL,
    message text COLLATE "C" NOT NULL,
    holder text COLLATE "C",
    actor text COLLATE "C", -- who asked for it
    CONSTRAINT run_events_pkey PRIMARY KEY (run_id, seq)
) PARTITION BY RANGE (run_id);

CREATE TABLE run_events_default PARTITION OF run_events DEFAULT;

-- run_events/read_feed.sql
CREATE INDEX run_events_by_position ON run_events (position, id);
-- run_events/read_feed_of_root.sql
CREATE INDEX run_events_by_root ON run_events (root_id, position, id);

CREATE TABLE idempotency_keys (
    namespace text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    run_id uuid NOT NULL,
    expires_at bigint NOT NULL,
    params_hash bytea NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (namespace, scope, key)
);

-- idempotency_keys/purge.sql
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
-- runs/delete_belongings.sql
CREATE INDEX idempotency_keys_by_run ON idempotency_keys (run_id);

-- The completed runs whose results serve other runs with the same cache key.
CREATE TABLE cache_keys (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    run_id uuid NOT NULL,
    expires_at bigint NOT NULL,
    CONSTRAINT cache_keys_pkey PRIMARY KEY (namespace, key)
);

-- cache_keys/purge.sql
CREATE INDEX cache_keys_by_expiry ON cache_keys (expires_at);
-- runs/delete_belongings.sql
CREATE INDEX cache_keys_by_run ON cache_keys (run_id);

-- The concurrency limits that are defined. A limit that runs only name does not bind.
CREATE TABLE concurrency_limits (
    max_slots bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    CONSTRAINT concurrency_limits_pkey PRIMARY KEY (namespace, name)
);

-- The slots that are taken, also of limits that are not defined, so that one that is defined later counts them.
CREATE TABLE concurrency_slots (
    owner uuid NOT NULL, -- a run, or whoever took it by a lease
    acquired_at bigint NOT NULL,
    expires_at bigint, -- the end of a lease; NULL: a run's, for as long as somebody holds the run
    namespace text COLLATE "C" NOT NULL,
    limit_name text COLLATE "C" NOT NULL,
    CONSTRAINT concurrency_slots_pkey PRIMARY KEY (namespace, limit_name, owner)
);

-- concurrency_slots/free.sql
CREATE INDEX concurrency_slots_by_owner ON concurrency_slots (owner);

-- The runs that wait for a slot: those that are SCHEDULED as AwaitingConcurrencySlot.
CREATE TABLE concurrency_waits (
    run_id uuid NOT NULL,
    due_at bigint NOT NULL,
    handed_at bigint NOT NULL, -- when it was handed to delivery since it began to wait; 0: it was not
    priority integer NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    limit_name text COLLATE "C" NOT NULL, -- the limit that had none
    CONSTRAINT concurrency_waits_pkey PRIMARY KEY (run_id)
);

-- concurrency_waits/hand_out.sql, concurrency_waits/next.sql, concurrency_waits/count.sql
CREATE INDEX concurrency_waits_in_order
    ON concurrency_waits (namespace, limit_name, handed_at, priority DESC, due_at, run_id);

CREATE TABLE sessions (
    id uuid NOT NULL,
    expires_at bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    identity text COLLATE "C" NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50); -- a few rows, each renewed every some seconds

-- runs/sweep_lost_sessions.sql, sessions/purge.sql
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- What is done to many runs, and how far that has come.
CREATE TABLE bulk_operations (
    id uuid NOT NULL,
    tree_run_id uuid, -- this run and those below it; NULL: those of the filter
    cursor uuid, -- runs go from the newest on: this one and those above it are seen to
    created_at bigint NOT NULL,
    lease_until bigint NOT NULL, -- until when the process that carries it on has it to itself
    ended_at bigint,
    pause_timeout bigint,
    n_matched bigint NOT NULL,
    n_done bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    actor text COLLATE "C", -- who asked for it
    filter text COLLATE "C",
    skipped jsonb NOT NULL, -- an object of numbers
    CONSTRAINT bulk_operations_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_operations_filter_or_tree CHECK ((filter IS NULL) <> (tree_run_id IS NULL)),
    CONSTRAINT bulk_operations_ended_at_iff_over CHECK ((ended_at IS NULL) = (state = 'RUNNING'))
) WITH (fillfactor = 50); -- few rows, each written with every step

-- bulk_operations/list.sql
CREATE INDEX bulk_operations_by_namespace ON bulk_operations (namespace, id);
-- bulk_operations/sweep.sql
CREATE INDEX bulk_operations_by_lease ON bulk_operations (lease_until) WHERE state = 'RUNNING';
-- bulk_operations/purge.sql
CREATE INDEX bulk_operations_by_end ON bulk_operations (ended_at) WHERE ended_at IS NOT NULL;
