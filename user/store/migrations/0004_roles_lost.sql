-- Roles that were taken away in one app (* is every app) stay in tokens of others. The table lost_roles is read on, and nothing is added to it.
-- back: the role was granted again since.
CREATE TABLE roles_lost (
	user_id TEXT NOT NULL,
	app_id TEXT NOT NULL,
	role TEXT NOT NULL,
	lost_at BIGINT NOT NULL,
	back BOOLEAN NOT NULL,
	PRIMARY KEY (user_id, app_id, role)
);
CREATE INDEX roles_lost_at ON roles_lost (lost_at);

-- Admin roles of the mesh's own services no longer count in a single app. Tokens of such an app that were issued before lose them, unless
-- their account holds the role in every app too.
INSERT INTO roles_lost (user_id, app_id, role, lost_at, back)
SELECT e.user_id, e.app_id, e.role, MAX(t.issued_at), FALSE
FROM enrolls e JOIN tokens t ON t.user_id = e.user_id AND t.app_id = e.app_id
WHERE e.role IN ('user-svc:admin', 'registry-svc:admin', 'proxy-svc:admin', 'gateway-svc:admin', 'forwarder-svc:admin') AND e.app_id NOT IN ('*', 'unnamed')
	AND NOT EXISTS (SELECT 1 FROM enrolls o WHERE o.user_id = e.user_id AND o.role = e.role AND o.app_id = '*')
GROUP BY e.user_id, e.app_id, e.role;
