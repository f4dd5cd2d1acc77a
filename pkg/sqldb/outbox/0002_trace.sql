-- The trace that an event belongs to, as W3C traceparent; NULL is none.
ALTER TABLE outbox ADD COLUMN trace TEXT;
