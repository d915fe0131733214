-- The queues that have settings; one without any works as well.
CREATE TABLE queues (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    max_slots INTEGER, -- how many of its runs may be held at once, as concurrency_limits has it of `queue:<name>`
    paused_at INTEGER, -- unset: it is not paused
    paused_by TEXT,
    pause_reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

-- Whether the last claim of a run needed a slot of its queue's limit.
ALTER TABLE runs ADD COLUMN queue_slot INTEGER NOT NULL DEFAULT 0;
