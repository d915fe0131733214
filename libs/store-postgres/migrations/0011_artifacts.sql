-- What runs have to show to people. Not partitioned: an artifact may have no run, and keys and numbers are unique over
-- all of them. Those of a run go before its partition does.
CREATE TABLE artifacts (
    id uuid NOT NULL,
    run_id uuid, -- NULL: it was made outside of a run
    root_id uuid, -- the uppermost run above that run
    object_id uuid,
    object_size bigint,
    version bigint NOT NULL, -- 0: it has no key
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    progress double precision, -- percent
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    type text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL,
    labels jsonb NOT NULL, -- an object of texts
    data bytea, -- as run_payloads
    object_sha256 bytea,
    CONSTRAINT artifacts_pkey PRIMARY KEY (id),
    CONSTRAINT artifacts_version_iff_key CHECK ((key IS NULL) = (version = 0)),
    CONSTRAINT artifacts_root_iff_run CHECK ((run_id IS NULL) = (root_id IS NULL)),
    CONSTRAINT artifacts_progress_or_data
        CHECK ((type = 'PROGRESS') = (progress IS NOT NULL) AND (type = 'PROGRESS') = (data IS NULL)),
    CONSTRAINT artifacts_whole_object CHECK (num_nulls(object_id, object_size, object_sha256) IN (0, 3))
);

-- list: a page of a namespace
CREATE INDEX artifacts_by_namespace ON artifacts (namespace, id);
-- list with `run`; artifacts/count.sql, artifacts/delete_between.sql, runs/delete_belongings.sql
CREATE INDEX artifacts_by_run ON artifacts (run_id, id) WHERE run_id IS NOT NULL;
-- list with `root`
CREATE INDEX artifacts_by_root ON artifacts (root_id, id) WHERE root_id IS NOT NULL;
-- list with `key` or `latest`; artifacts/find_by_key.sql, artifacts/delete_versions.sql
CREATE UNIQUE INDEX artifacts_by_key ON artifacts (namespace, key, version) WHERE key IS NOT NULL;
-- payload_objects/take_orphans.sql
CREATE INDEX artifacts_by_object ON artifacts (object_id) WHERE object_id IS NOT NULL;
-- artifacts/purge.sql
CREATE INDEX artifacts_without_run ON artifacts (updated_at) WHERE run_id IS NULL;

-- The last number that was given to an artifact of each key.
CREATE TABLE artifact_keys (
    last_version bigint NOT NULL,
    updated_at bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    CONSTRAINT artifact_keys_pkey PRIMARY KEY (namespace, key)
) WITH (fillfactor = 50);

-- artifact_keys/purge.sql
CREATE INDEX artifact_keys_by_update ON artifact_keys (updated_at);

-- Named values that runs share. They are no secrets.
CREATE TABLE variables (
    revision uuid NOT NULL, -- new with every change
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL, -- JSON as it was given
    description text COLLATE "C" NOT NULL,
    tags text[] COLLATE "C" NOT NULL,
    CONSTRAINT variables_pkey PRIMARY KEY (namespace, name)
);
