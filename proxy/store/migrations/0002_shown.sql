-- The id of a route as it was saved: its canonical form is the key.
ALTER TABLE routes ADD COLUMN shown TEXT NOT NULL DEFAULT '';
