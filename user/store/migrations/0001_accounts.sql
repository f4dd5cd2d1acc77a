-- Times are microseconds since 1970, UTC; NULL is none. Labels, roles and slugs in TEXT are JSON.

CREATE TABLE apps (
	id TEXT NOT NULL PRIMARY KEY,
	host TEXT NOT NULL UNIQUE
);

-- Every slug that was ever given to an account or an organization: none is given twice.
CREATE TABLE slugs (
	slug TEXT NOT NULL PRIMARY KEY,
	owner TEXT NOT NULL
);

CREATE TABLE accounts (
	id TEXT NOT NULL PRIMARY KEY,
	slug TEXT NOT NULL UNIQUE,
	name TEXT NOT NULL,
	labels TEXT,
	thumbnail TEXT,
	password TEXT,
	search TEXT NOT NULL, -- what a search finds: slug, name and contacts, in lower case
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	deleted_at BIGINT
);
-- It holds all that a search looks at, so that only what is found is read from the table.
CREATE INDEX accounts_created ON accounts (created_at, id, deleted_at, search);
CREATE INDEX accounts_updated ON accounts (updated_at, id);

CREATE TABLE contacts (
	id TEXT NOT NULL PRIMARY KEY,
	platform TEXT NOT NULL,
	handle TEXT NOT NULL,
	user_id TEXT NOT NULL REFERENCES accounts (id),
	is_primary BOOLEAN NOT NULL,
	verified BOOLEAN NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE INDEX contacts_user ON contacts (user_id);

CREATE TABLE sessions (
	id TEXT NOT NULL PRIMARY KEY,
	user_id TEXT NOT NULL REFERENCES accounts (id),
	app_id TEXT NOT NULL REFERENCES apps (id),
	device TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	refreshed_at BIGINT,
	expires_at BIGINT NOT NULL,
	revoked_at BIGINT
);
CREATE INDEX sessions_user ON sessions (user_id, app_id, device);
CREATE INDEX sessions_expires ON sessions (expires_at);
CREATE INDEX sessions_revoked ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE tokens (
	id TEXT NOT NULL PRIMARY KEY,
	session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	key_id TEXT NOT NULL,
	user_id TEXT NOT NULL,
	slug TEXT NOT NULL,
	app_id TEXT NOT NULL,
	device TEXT NOT NULL,
	roles TEXT NOT NULL,
	active_org TEXT,
	issued_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	rotated_at BIGINT,
	successor TEXT
);
CREATE INDEX tokens_session ON tokens (session_id);
CREATE INDEX tokens_rotated ON tokens (rotated_at) WHERE rotated_at IS NOT NULL;

CREATE TABLE signing_keys (
	id TEXT NOT NULL PRIMARY KEY,
	public TEXT NOT NULL,
	sealed BYTEA NOT NULL,
	created_at BIGINT NOT NULL,
	active_from BIGINT NOT NULL
);

CREATE TABLE enrolls (
	id TEXT NOT NULL PRIMARY KEY,
	app_id TEXT NOT NULL,
	role TEXT NOT NULL,
	user_id TEXT REFERENCES accounts (id),
	contact_id TEXT,
	created_by TEXT,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE INDEX enrolls_user ON enrolls (user_id);
CREATE INDEX enrolls_contact ON enrolls (contact_id);
CREATE INDEX enrolls_role ON enrolls (role);

CREATE TABLE lost_roles (
	user_id TEXT NOT NULL,
	role TEXT NOT NULL,
	lost_at BIGINT NOT NULL,
	PRIMARY KEY (user_id, role)
);

CREATE TABLE permits (
	id TEXT NOT NULL PRIMARY KEY,
	app_id TEXT NOT NULL,
	permission TEXT NOT NULL,
	roles TEXT NOT NULL,
	slugs TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE INDEX permits_permission ON permits (permission);

CREATE TABLE organizations (
	id TEXT NOT NULL PRIMARY KEY,
	app_id TEXT NOT NULL REFERENCES apps (id),
	slug TEXT NOT NULL UNIQUE,
	name TEXT NOT NULL,
	thumbnail TEXT,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE INDEX organizations_created ON organizations (created_at, id);

CREATE TABLE memberships (
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	user_id TEXT NOT NULL REFERENCES accounts (id),
	role TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id, created_at);

CREATE TABLE codes (
	id TEXT NOT NULL PRIMARY KEY,
	contact_id TEXT NOT NULL,
	salt BYTEA NOT NULL,
	hash BYTEA NOT NULL,
	tries BIGINT NOT NULL,
	expires_at BIGINT NOT NULL
);
CREATE INDEX codes_expires ON codes (expires_at);

CREATE TABLE attempts (
	kind TEXT NOT NULL,
	subject TEXT NOT NULL,
	ip TEXT NOT NULL,
	tried_at BIGINT NOT NULL
);
CREATE INDEX attempts_subject ON attempts (kind, subject, tried_at);
CREATE INDEX attempts_ip ON attempts (kind, ip, tried_at);
CREATE INDEX attempts_time ON attempts (tried_at);
