CREATE INDEX slugs_owner ON slugs (owner);
