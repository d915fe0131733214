-- What runs have to show to people.
CREATE TABLE artifacts (
    id BLOB NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    run_id BLOB, -- NULL: it was made outside of a run
    root_id BLOB, -- the uppermost run above that run
    key TEXT,
    version INTEGER NOT NULL, -- 0: it has no key
    type TEXT NOT NULL,
    description TEXT NOT NULL,
    progress REAL, -- percent
    labels TEXT NOT NULL, -- a JSON object of texts
    data BLOB, -- as run_payloads
    object_id BLOB,
    object_size INTEGER,
    object_sha256 BLOB,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((key IS NULL) = (version = 0)),
    CHECK ((run_id IS NULL) = (root_id IS NULL)),
    CHECK ((type = 'PROGRESS') = (progress IS NOT NULL) AND (type = 'PROGRESS') = (data IS NULL))
) STRICT;

-- list: a page of a namespace
CREATE INDEX artifacts_by_namespace ON artifacts (namespace, id);
-- list with `run`; artifacts/count.sql, artifacts/delete.sql
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
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    last_version INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;

-- artifact_keys/purge.sql
CREATE INDEX artifact_keys_by_update ON artifact_keys (updated_at);

-- Named values that runs share. They are no secrets.
CREATE TABLE variables (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL, -- JSON as it was given
    tags TEXT NOT NULL, -- a JSON array of texts
    description TEXT NOT NULL,
    revision BLOB NOT NULL, -- new with every change
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;
