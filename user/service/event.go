package service

// Event is one thing that happened to an account, for others to know.
type Event struct {
	UserID  string // the account it happened to; empty where it concerns no single one
	Slug    string
	ActorID string // the account that did it; empty for the mesh itself
	What    Happening
}

// Happening is what an event tells: one of the types below.
type Happening interface{ happening() }

// The happenings.
type (
	Registered      struct{ Name, AppID string }
	AccountChanged  struct{ Fields []string }
	AccountDeleted  struct{}
	SignedIn        struct{ AppID, Device, SessionID string }
	PasswordChanged struct{ Reset bool } // Reset: by an admin
	SessionsRevoked struct {
		SessionIDs []string
		Reason     string
	}
	RoleGranted       struct{ Role, AppID, ContactID string }
	RoleRemoved       struct{ Role, AppID, ContactID string }
	PermitSaved       struct{ Permit Permit }
	OrganizationSaved struct {
		Organization Organization
		Created      bool
	}
	OrganizationDeleted struct{ Organization Organization }
	PermitDeleted       struct{ Permit Permit }
	AppDeleted          struct{ App App }
	ContactLost         struct{ ContactID string } // to an account that proved it
	KeyRotated          struct{ KeyID string }
)

func (Registered) happening()          {}
func (AccountChanged) happening()      {}
func (AccountDeleted) happening()      {}
func (SignedIn) happening()            {}
func (PasswordChanged) happening()     {}
func (SessionsRevoked) happening()     {}
func (RoleGranted) happening()         {}
func (RoleRemoved) happening()         {}
func (PermitSaved) happening()         {}
func (OrganizationSaved) happening()   {}
func (KeyRotated) happening()          {}
func (OrganizationDeleted) happening() {}
func (PermitDeleted) happening()       {}
func (AppDeleted) happening()          {}
func (ContactLost) happening()         {}
