package sqldb

// Rebind is tested on its own: no query that a database takes could show how it fails.
func Rebind(query string) string { return rebind(query) }
