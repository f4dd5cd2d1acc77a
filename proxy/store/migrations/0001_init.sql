CREATE TABLE routes (
    id TEXT PRIMARY KEY,
    target TEXT NOT NULL
);

CREATE TABLE certs (
    id TEXT PRIMARY KEY,
    chain BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
