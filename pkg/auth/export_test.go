package auth

// BoundRevoked bounds a list of revocations.
func BoundRevoked(r *Revoked, room int) { r.bound(room) }
