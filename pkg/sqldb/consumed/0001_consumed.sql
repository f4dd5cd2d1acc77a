-- Which events were applied, by which consumer: the note is part of the transaction that applies one.
CREATE TABLE consumed (
	consumer TEXT NOT NULL,
	event_id TEXT NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (consumer, event_id)
);
CREATE INDEX consumed_at ON consumed (at);
