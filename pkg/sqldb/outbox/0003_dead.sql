-- Events that NATS doesn't take, since they are too large. They wait here until it does.
CREATE TABLE outbox_dead (
	id TEXT NOT NULL PRIMARY KEY,
	topic TEXT NOT NULL,
	key TEXT NOT NULL,
	type TEXT NOT NULL,
	payload BYTEA NOT NULL,
	time BIGINT NOT NULL,
	trace TEXT,
	size BIGINT NOT NULL
);
