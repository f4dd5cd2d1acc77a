// Package subscriber stands between the proxy's domain and the mesh's events: it says what the proxy publishes.
package subscriber

import (
	"fmt"

	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/routes"
	"micromesh/pkg/sqldb"
	"micromesh/proxy/service"
)

// Schema describes the topic that the proxy publishes.
func Schema() (events.Schema, error) {
	return events.NewSchema(routes.Topic, routes.File_routes_events_proto)
}

// Encode makes the message of an event.
func Encode(e service.Event) (sqldb.Message, error) {
	m := &routes.Event{Route: &routes.Route{Id: e.ID}, ActorId: e.ActorID}
	switch what := e.What.(type) {
	case service.RouteSaved:
		m.Type = routes.EventType_EVENT_TYPE_ROUTE_SAVED
		m.Payload = &routes.Event_RouteSaved{RouteSaved: &routes.RouteSaved{Target: what.Target}}
	case service.RouteDeleted:
		m.Type = routes.EventType_EVENT_TYPE_ROUTE_DELETED
		m.Payload = &routes.Event_RouteDeleted{RouteDeleted: &routes.RouteDeleted{}}
	case service.CertSaved:
		m.Type = routes.EventType_EVENT_TYPE_CERT_SAVED
		m.Payload = &routes.Event_CertSaved{CertSaved: &routes.CertSaved{NotAfter: what.NotAfter.UTC().Format("2006-01-02T15:04:05Z")}}
	case service.CertDeleted:
		m.Type = routes.EventType_EVENT_TYPE_CERT_DELETED
		m.Payload = &routes.Event_CertDeleted{CertDeleted: &routes.CertDeleted{}}
	default:
		return sqldb.Message{}, fmt.Errorf("there is no event for a %T", e.What)
	}
	return events.NewMessage(routes.Topic, e.ID, e.Time, m)
}
