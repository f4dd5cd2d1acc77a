// Package subscriber turns what happens in the user service into events of the topic "accounts". The service listens to
// no events of others.
package subscriber

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/accounts"
	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

// Schema is that of the events that Encode makes.
func Schema() (events.Schema, error) {
	return events.NewSchema(accounts.Topic, accounts.File_accounts_events_proto)
}

// Encode makes the message of an event for the outbox, apart from its id and time. It is a store.Encoder.
func Encode(e service.Event) (sqldb.Message, error) {
	m := &accounts.Event{ActorId: e.ActorID}
	key := e.UserID
	if e.UserID != "" {
		m.Account = &accounts.Account{Id: e.UserID, Slug: e.Slug}
	}
	if about := fill(m, e.What); key == "" {
		key = about
	}
	if m.GetType() == accounts.EventType_EVENT_TYPE_UNSPECIFIED {
		return sqldb.Message{}, fmt.Errorf("there is no event for a %T", e.What)
	}
	payload, err := proto.Marshal(m)
	if err != nil {
		return sqldb.Message{}, err
	}
	return sqldb.Message{Topic: accounts.Topic, Key: key, Type: events.TypeName(accounts.Topic, m), Payload: payload}, nil
}

// fill sets the type and the payload of m, and tells what an event that concerns no account is about.
func fill(m *accounts.Event, what service.Happening) (about string) {
	switch w := what.(type) {
	case service.Registered:
		m.Type = accounts.EventType_EVENT_TYPE_ACCOUNT_REGISTERED
		m.Payload = &accounts.Event_AccountRegistered{AccountRegistered: &accounts.AccountRegistered{Name: w.Name, AppId: w.AppID}}
	case service.AccountChanged:
		m.Type = accounts.EventType_EVENT_TYPE_ACCOUNT_CHANGED
		m.Payload = &accounts.Event_AccountChanged{AccountChanged: &accounts.AccountChanged{Fields: w.Fields}}
	case service.AccountDeleted:
		m.Type = accounts.EventType_EVENT_TYPE_ACCOUNT_DELETED
		m.Payload = &accounts.Event_AccountDeleted{AccountDeleted: &accounts.AccountDeleted{}}
	case service.SignedIn:
		m.Type = accounts.EventType_EVENT_TYPE_SIGNED_IN
		m.Payload = &accounts.Event_SignedIn{SignedIn: &accounts.SignedIn{AppId: w.AppID, Device: w.Device, SessionId: w.SessionID}}
	case service.PasswordChanged:
		m.Type = accounts.EventType_EVENT_TYPE_PASSWORD_CHANGED
		m.Payload = &accounts.Event_PasswordChanged{PasswordChanged: &accounts.PasswordChanged{Reset_: w.Reset}}
	case service.SessionsRevoked:
		m.Type = accounts.EventType_EVENT_TYPE_SESSIONS_REVOKED
		m.Payload = &accounts.Event_SessionsRevoked{SessionsRevoked: &accounts.SessionsRevoked{SessionIds: w.SessionIDs, Reason: w.Reason}}
	default:
		return fillRights(m, what)
	}
	return ""
}

// fillRights is fill for what concerns rights.
func fillRights(m *accounts.Event, what service.Happening) (about string) {
	switch w := what.(type) {
	case service.RoleGranted:
		m.Type = accounts.EventType_EVENT_TYPE_ROLE_GRANTED
		m.Payload = &accounts.Event_RoleGranted{RoleGranted: &accounts.RoleGranted{Role: w.Role, AppId: w.AppID, ContactId: w.ContactID}}
		return w.ContactID
	case service.RoleRemoved:
		m.Type = accounts.EventType_EVENT_TYPE_ROLE_REMOVED
		m.Payload = &accounts.Event_RoleRemoved{RoleRemoved: &accounts.RoleRemoved{Role: w.Role, AppId: w.AppID, ContactId: w.ContactID}}
		return w.ContactID
	case service.PermitSaved:
		m.Type = accounts.EventType_EVENT_TYPE_PERMIT_SAVED
		m.Payload = &accounts.Event_PermitSaved{PermitSaved: &accounts.PermitSaved{
			PermitId: w.Permit.ID, AppId: w.Permit.AppID, Permission: w.Permit.Permission, Roles: w.Permit.Roles, Slugs: w.Permit.Slugs,
		}}
		return w.Permit.ID
	case service.OrganizationSaved:
		o := w.Organization
		m.Type = accounts.EventType_EVENT_TYPE_ORGANIZATION_SAVED
		m.Payload = &accounts.Event_OrganizationSaved{OrganizationSaved: &accounts.OrganizationSaved{
			OrganizationId: o.ID, AppId: o.AppID, Slug: o.Slug, Created: w.Created,
		}}
		return o.ID
	default:
		return fillDeletions(m, what)
	}
}

// fillDeletions is fill for deletions, and for keys.
func fillDeletions(m *accounts.Event, what service.Happening) (about string) {
	switch w := what.(type) {
	case service.PermitDeleted:
		m.Type = accounts.EventType_EVENT_TYPE_PERMIT_DELETED
		m.Payload = &accounts.Event_PermitDeleted{PermitDeleted: &accounts.PermitDeleted{
			PermitId: w.Permit.ID, AppId: w.Permit.AppID, Permission: w.Permit.Permission,
		}}
		return w.Permit.ID
	case service.OrganizationDeleted:
		o := w.Organization
		m.Type = accounts.EventType_EVENT_TYPE_ORGANIZATION_DELETED
		m.Payload = &accounts.Event_OrganizationDeleted{OrganizationDeleted: &accounts.OrganizationDeleted{OrganizationId: o.ID, AppId: o.AppID, Slug: o.Slug}}
		return o.ID
	case service.AppDeleted:
		m.Type = accounts.EventType_EVENT_TYPE_APP_DELETED
		m.Payload = &accounts.Event_AppDeleted{AppDeleted: &accounts.AppDeleted{AppId: w.App.ID, Host: w.App.Host}}
		return w.App.ID
	case service.ContactLost:
		m.Type = accounts.EventType_EVENT_TYPE_CONTACT_LOST
		m.Payload = &accounts.Event_ContactLost{ContactLost: &accounts.ContactLost{ContactId: w.ContactID}}
	case service.KeyRotated:
		m.Type = accounts.EventType_EVENT_TYPE_KEY_ROTATED
		m.Payload = &accounts.Event_KeyRotated{KeyRotated: &accounts.KeyRotated{KeyId: w.KeyID}}
		return w.KeyID
	}
	return ""
}
