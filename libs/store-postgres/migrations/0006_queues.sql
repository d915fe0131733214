-- The queues that have settings; one without any works as well.
CREATE TABLE queues (
    max_slots bigint, -- how many of its runs may be held at once, as concurrency_limits has it of `queue:<name>`
    paused_at bigint, -- NULL: it is not paused
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    paused_by text COLLATE "C",
    pause_reason text COLLATE "C" NOT NULL,
    CONSTRAINT queues_pkey PRIMARY KEY (namespace, name),
    CONSTRAINT queues_paused_by_only_if_paused CHECK (paused_by IS NULL OR paused_at IS NOT NULL)
);

-- Whether the last claim of a run needed a slot of its queue's limit.
ALTER TABLE runs ADD COLUMN queue_slot boolean NOT NULL DEFAULT FALSE;
