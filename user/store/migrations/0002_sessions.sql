-- A session that was exchanged from another one ends with it. A session that began with a contact ends when somebody else proves it.
ALTER TABLE sessions ADD COLUMN parent_id TEXT;
ALTER TABLE sessions ADD COLUMN contact_id TEXT;
CREATE INDEX sessions_parent ON sessions (parent_id) WHERE parent_id IS NOT NULL;

-- Plain tokens came without a refresh token.
ALTER TABLE tokens ADD COLUMN plain BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX tokens_newest ON tokens (session_id, issued_at);

-- A deleted app stays as long as sessions refer to it. Its host is free again.
ALTER TABLE apps ADD COLUMN deleted_at BIGINT;
