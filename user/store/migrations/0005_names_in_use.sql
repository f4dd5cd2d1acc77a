-- Names under which programs without an account run, or ran lately: no stranger can register them.
CREATE TABLE names_in_use (
	name TEXT NOT NULL PRIMARY KEY,
	until BIGINT NOT NULL
);
