CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL,
    url TEXT NOT NULL UNIQUE,
    host TEXT NOT NULL,
    ip TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    health_path TEXT NOT NULL,
    metadata TEXT NOT NULL,
    tags TEXT NOT NULL,
    generation BIGINT NOT NULL,
    node_url TEXT NOT NULL,
    status TEXT NOT NULL,
    details TEXT NOT NULL,
    since BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_heartbeat BIGINT NOT NULL
);

CREATE TABLE tombstones (
    url TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    slug TEXT NOT NULL,
    generation BIGINT NOT NULL,
    removed_at BIGINT NOT NULL
);

CREATE INDEX tombstones_id ON tombstones (id);

CREATE INDEX tombstones_removed_at ON tombstones (removed_at);

CREATE TABLE definitions (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL,
    availability_zone TEXT NOT NULL,
    usage TEXT NOT NULL,
    last_heartbeat BIGINT NOT NULL
);
