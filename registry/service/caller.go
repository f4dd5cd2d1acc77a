package service

// Caller is who calls, as a verified token says it.
type Caller struct {
	UserID string
	Slug   string
	Others bool // holds the permission to make this call for things of other accounts
}

// owns reports whether the caller may make the call for something that belongs to a slug.
func (c Caller) owns(slug string) bool { return c.Others || c.Slug == slug }
