package service

// Caller is who calls, as a verified token says it.
type Caller struct {
	UserID string
	Slug   string
	Admin  bool // may do everything
}

// seesAll tells whether the caller is shown what belongs to others: an admin, and the proxy, which leads to them.
func (c Caller) seesAll() bool { return c.Admin || c.Slug == "proxy-svc" }

// owns tells whether the caller may change what belongs to a slug.
func (c Caller) owns(slug string) bool { return c.Admin || c.Slug == slug }
