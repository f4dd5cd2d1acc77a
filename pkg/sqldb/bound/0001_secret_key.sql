-- Which secret key has sealed what lies in this database: one row at most. The verifier says nothing of the key.
CREATE TABLE secret_key (
	id BIGINT PRIMARY KEY,
	verifier TEXT NOT NULL,
	bound_at BIGINT NOT NULL
);
