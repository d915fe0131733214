-- Instants and spans are microseconds; ids are the 16 bytes of a UUID, so that their order is the order of time.

CREATE TABLE runs (
    id BLOB NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    run_name TEXT NOT NULL,
    queue TEXT,
    session_id BLOB,
    parent_id BLOB,
    root_id BLOB NOT NULL,
    depth INTEGER NOT NULL,
    policies TEXT NOT NULL, -- a JSON object
    priority INTEGER NOT NULL,
    tags TEXT NOT NULL, -- a JSON array
    labels TEXT NOT NULL, -- a JSON object of texts
    deployment TEXT, -- `flow/deployment`
    cache_key TEXT,
    cache_expires_after INTEGER,
    concurrency_limits TEXT NOT NULL, -- a JSON array
    traceparent TEXT,
    created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    expires_at INTEGER,
    started_at INTEGER,
    state TEXT NOT NULL,
    state_name TEXT NOT NULL,
    state_message TEXT NOT NULL,
    state_at INTEGER NOT NULL,
    holder TEXT, -- `worker:<id>` or `session:<id>`
    timer_at INTEGER, -- when the scheduler has to look at the run
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    cascade_pending INTEGER NOT NULL,
    pause_key TEXT, -- which pause of the code a PAUSED run is in
    resumed_keys TEXT NOT NULL, -- a JSON array: the pauses that a later attempt does not stop at again
    ended_at INTEGER,
    enqueued_at INTEGER, -- when delivery was told; unset: the sweep is to do it
    CONSTRAINT runs_queue_or_session CHECK ((queue IS NULL) <> (session_id IS NULL)),
    CONSTRAINT runs_ended_at_iff_terminal
        CHECK ((ended_at IS NOT NULL) = (state IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED'))),
    -- PAUSED in its process, or without one.
    CONSTRAINT runs_holder_iff_held
        CHECK (state = 'PAUSED' OR (holder IS NOT NULL) = (state IN ('PENDING', 'RUNNING', 'CANCELLING'))),
    CONSTRAINT runs_timer_only_until_end CHECK (timer_at IS NULL OR ended_at IS NULL),
    CONSTRAINT runs_pause_key_only_if_paused CHECK (pause_key IS NULL OR state = 'PAUSED'),
    CONSTRAINT runs_cache_expiry_only_with_key CHECK (cache_expires_after IS NULL OR cache_key IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- list.sql: a page of a namespace, newest first
CREATE INDEX runs_by_namespace ON runs (namespace, id);
-- list.sql with `root_run_id`: a tree; an uppermost run is found by its id
CREATE INDEX runs_by_root ON runs (root_id, id) WHERE parent_id IS NOT NULL;
-- list.sql with `parent_run_id`: all children
CREATE INDEX runs_by_parent ON runs (parent_id, id) WHERE parent_id IS NOT NULL;
-- list.sql with `state`, and counts
CREATE INDEX runs_by_state ON runs (namespace, state, id);
-- list.sql with `name`, `flow` or `task`, and by name
CREATE INDEX runs_by_name ON runs (namespace, name, id);
-- list.sql by creation
CREATE INDEX runs_by_creation ON runs (namespace, created_at, id);
-- list.sql by start
CREATE INDEX runs_by_start ON runs (namespace, started_at, id) WHERE started_at IS NOT NULL;
-- list.sql by end, and what ended since
CREATE INDEX runs_by_end ON runs (namespace, ended_at, id) WHERE ended_at IS NOT NULL;
-- list.sql with `deployment`
CREATE INDEX runs_by_deployment ON runs (deployment, id) WHERE deployment IS NOT NULL;
-- sweep_lost_sessions.sql and sessions/purge.sql
CREATE INDEX runs_open_by_session ON runs (session_id, id) WHERE session_id IS NOT NULL AND ended_at IS NULL;
-- sweep_never_enqueued.sql
CREATE INDEX runs_never_enqueued ON runs (due_at)
    WHERE state = 'SCHEDULED' AND queue IS NOT NULL AND enqueued_at IS NULL;
-- sweep_enqueued_before.sql
CREATE INDEX runs_enqueued ON runs (enqueued_at, due_at)
    WHERE state = 'SCHEDULED' AND queue IS NOT NULL AND enqueued_at IS NOT NULL
        AND state_name <> 'AwaitingConcurrencySlot';
-- sweep_timers.sql
CREATE INDEX runs_timers ON runs (timer_at) WHERE timer_at IS NOT NULL;
-- sweep_cascades.sql
CREATE INDEX runs_cascades ON runs (id) WHERE cascade_pending;
-- expired.sql
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
-- held.sql
CREATE INDEX runs_held ON runs (id) WHERE queue IS NOT NULL AND holder IS NOT NULL;

-- Encoded tidegate.v1.Payload messages, which no statement looks into. Where the value is in object storage, they have
-- its metadata, and the columns say which object it is.
CREATE TABLE run_payloads (
    run_id BLOB NOT NULL,
    kind TEXT NOT NULL CONSTRAINT run_payloads_kind CHECK (kind IN ('parameters', 'result')),
    data BLOB NOT NULL,
    object_id BLOB,
    object_size INTEGER,
    object_sha256 BLOB,
    PRIMARY KEY (run_id, kind),
    CONSTRAINT run_payloads_whole_object
        CHECK ((object_id IS NULL) = (object_size IS NULL) AND (object_id IS NULL) = (object_sha256 IS NULL))
) STRICT;

-- payload_objects/take_orphans.sql
CREATE INDEX run_payloads_by_object ON run_payloads (object_id) WHERE object_id IS NOT NULL;

CREATE TABLE run_failures (
    run_id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    error_type TEXT NOT NULL,
    message TEXT NOT NULL,
    traceback TEXT NOT NULL,
    non_retryable INTEGER NOT NULL,
    PRIMARY KEY (run_id, attempt)
) STRICT, WITHOUT ROWID;

-- The questions and answers of pauses: as run_payloads.
CREATE TABLE run_inputs (
    run_id BLOB NOT NULL,
    key TEXT NOT NULL, -- which pause of the code
    kind TEXT NOT NULL CONSTRAINT run_inputs_kind CHECK (kind IN ('request', 'input')),
    data BLOB NOT NULL,
    object_id BLOB,
    object_size INTEGER,
    object_sha256 BLOB,
    PRIMARY KEY (run_id, key, kind),
    CONSTRAINT run_inputs_whole_object
        CHECK ((object_id IS NULL) = (object_size IS NULL) AND (object_id IS NULL) = (object_sha256 IS NULL))
) STRICT;

-- payload_objects/take_orphans.sql
CREATE INDEX run_inputs_by_object ON run_inputs (object_id) WHERE object_id IS NOT NULL;

-- The objects in object storage. A row is there before its object and after it.
CREATE TABLE payload_objects (
    id BLOB NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL,
    touched_at INTEGER NOT NULL, -- when it was announced, used by a payload, or last found to be in use
    sha256 BLOB NOT NULL,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT payload_objects_state CHECK (state IN ('UPLOADING', 'COMPLETE', 'DELETING'))
) STRICT, WITHOUT ROWID;

-- payload_objects/take_orphans.sql
CREATE INDEX payload_objects_by_touch ON payload_objects (touched_at);

-- Append-only. There is one writer, so the order of `position` is the order of commits: a reader that has seen
-- a position never misses one below it. AUTOINCREMENT: a number is not used again after retention took its row.
CREATE TABLE run_events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    root_id BLOB NOT NULL,
    namespace TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    state_name TEXT NOT NULL,
    message TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    holder TEXT,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    actor TEXT, -- who asked for it
    CONSTRAINT run_events_gapless UNIQUE (run_id, seq)
) STRICT;

-- read_feed_of_root.sql
CREATE INDEX run_events_by_root ON run_events (root_id, position);

CREATE TABLE idempotency_keys (
    namespace TEXT NOT NULL,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    run_id BLOB NOT NULL,
    params_hash BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, scope, key)
) STRICT, WITHOUT ROWID;

-- idempotency_keys/purge.sql
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
-- idempotency_keys/delete.sql
CREATE INDEX idempotency_keys_by_run ON idempotency_keys (run_id);

-- The completed runs whose results serve other runs with the same cache key.
CREATE TABLE cache_keys (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    run_id BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;

-- cache_keys/purge.sql
CREATE INDEX cache_keys_by_expiry ON cache_keys (expires_at);
-- cache_keys/delete.sql
CREATE INDEX cache_keys_by_run ON cache_keys (run_id);

-- The concurrency limits that are defined. A limit that runs only name does not bind.
CREATE TABLE concurrency_limits (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    max_slots INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

-- The slots that are taken, also of limits that are not defined, so that one that is defined later counts them.
CREATE TABLE concurrency_slots (
    namespace TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    owner BLOB NOT NULL, -- a run, or whoever took it by a lease
    acquired_at INTEGER NOT NULL,
    expires_at INTEGER, -- the end of a lease; unset: a run's, for as long as somebody holds the run
    PRIMARY KEY (namespace, limit_name, owner)
) STRICT, WITHOUT ROWID;

-- concurrency_slots/free.sql
CREATE INDEX concurrency_slots_by_owner ON concurrency_slots (owner);

-- The runs that wait for a slot: those that are SCHEDULED as AwaitingConcurrencySlot.
CREATE TABLE concurrency_waits (
    run_id BLOB NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    limit_name TEXT NOT NULL, -- the limit that had none
    priority INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    handed_at INTEGER NOT NULL -- when it was handed to delivery since it began to wait; 0: it was not
) STRICT, WITHOUT ROWID;

-- concurrency_waits/hand_out.sql, concurrency_waits/next.sql, concurrency_waits/count.sql
CREATE INDEX concurrency_waits_in_order
    ON concurrency_waits (namespace, limit_name, handed_at, priority DESC, due_at, run_id);

CREATE TABLE sessions (
    id BLOB NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    identity TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- sweep_lost_sessions.sql and sessions/purge.sql
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- What is done to many runs, and how far that has come.
CREATE TABLE bulk_operations (
    id BLOB NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    action TEXT NOT NULL,
    filter TEXT,
    tree_run_id BLOB, -- this run and those below it; NULL: those of the filter
    reason TEXT NOT NULL,
    actor TEXT, -- who asked for it
    pause_timeout INTEGER,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    ended_at INTEGER,
    cursor BLOB, -- runs go from the newest on: this one and those above it are seen to
    lease_until INTEGER NOT NULL, -- until when the process that carries it on has it to itself
    n_matched INTEGER NOT NULL,
    n_done INTEGER NOT NULL,
    skipped TEXT NOT NULL, -- an object of numbers
    CHECK ((filter IS NULL) <> (tree_run_id IS NULL)),
    CHECK ((ended_at IS NULL) = (state = 'RUNNING'))
) STRICT, WITHOUT ROWID;

-- bulk_operations/list.sql
CREATE INDEX bulk_operations_by_namespace ON bulk_operations (namespace, id);
-- bulk_operations/sweep.sql
CREATE INDEX bulk_operations_by_lease ON bulk_operations (lease_until) WHERE state = 'RUNNING';
-- bulk_operations/purge.sql
CREATE INDEX bulk_operations_by_end ON bulk_operations (ended_at) WHERE ended_at IS NOT NULL;
