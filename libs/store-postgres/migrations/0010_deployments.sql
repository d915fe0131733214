-- Flows that can be started by name, as they are now.
CREATE TABLE deployments (
    version bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    spec bytea NOT NULL, -- tidegate.v1.DeploymentSpec
    CONSTRAINT deployments_pkey PRIMARY KEY (namespace, name)
);

-- What they said from one change to the next, with what they say now.
CREATE TABLE deployment_versions (
    version bigint NOT NULL,
    created_at bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    created_by text COLLATE "C",
    spec bytea NOT NULL,
    CONSTRAINT deployment_versions_pkey PRIMARY KEY (namespace, name, version)
);

-- The version of the deployment that a run was made by.
ALTER TABLE runs ADD COLUMN deployment_version bigint;
