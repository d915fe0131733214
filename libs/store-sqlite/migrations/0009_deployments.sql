-- Flows that can be started by name, as they are now.
CREATE TABLE deployments (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    spec BLOB NOT NULL, -- tidegate.v1.DeploymentSpec
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;

-- What they said from one change to the next, with what they say now.
CREATE TABLE deployment_versions (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    spec BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT,
    PRIMARY KEY (namespace, name, version)
) STRICT;

-- The version of the deployment that a run was made by.
ALTER TABLE runs ADD COLUMN deployment_version INTEGER;
