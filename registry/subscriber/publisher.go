// Package subscriber stands between the registry's domain and the mesh's events: it says what the registry publishes.
package subscriber

import (
	"fmt"
	"time"

	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/instances"
	"micromesh/pkg/sqldb"
	"micromesh/registry/service"
)

// Schema describes the topic that the registry publishes.
func Schema() (events.Schema, error) {
	return events.NewSchema(instances.Topic, instances.File_instances_events_proto)
}

// Encode makes the message of an event. Those of one instance, or of one slug's definition, keep their order.
func Encode(e service.Event) (sqldb.Message, error) {
	m := &instances.Event{Instance: &instances.Instance{Id: e.ID, Slug: e.Slug, Url: e.URL}, ActorId: e.ActorID}
	switch what := e.What.(type) {
	case service.Registered:
		m.Type = instances.EventType_EVENT_TYPE_INSTANCE_REGISTERED
		m.Payload = &instances.Event_InstanceRegistered{InstanceRegistered: &instances.InstanceRegistered{DeploymentId: what.DeploymentID, Generation: what.Generation}}
	case service.Changed:
		m.Type = instances.EventType_EVENT_TYPE_INSTANCE_CHANGED
		m.Payload = &instances.Event_InstanceChanged{InstanceChanged: &instances.InstanceChanged{PreviousUrl: what.PreviousURL, Generation: what.Generation}}
	case service.Removed:
		m.Type = instances.EventType_EVENT_TYPE_INSTANCE_REMOVED
		m.Payload = &instances.Event_InstanceRemoved{InstanceRemoved: &instances.InstanceRemoved{}}
	case service.Expired:
		m.Type = instances.EventType_EVENT_TYPE_INSTANCE_EXPIRED
		m.Payload = &instances.Event_InstanceExpired{InstanceExpired: &instances.InstanceExpired{LastHeartbeat: what.LastHeartbeat.UTC().Format(time.RFC3339)}}
	case service.StatusChanged:
		m.Type = instances.EventType_EVENT_TYPE_STATUS_CHANGED
		m.Payload = &instances.Event_StatusChanged{StatusChanged: &instances.StatusChanged{From: what.From, To: what.To, Details: what.Details}}
	case service.DefinitionSaved:
		m.Type = instances.EventType_EVENT_TYPE_DEFINITION_SAVED
		m.Payload = &instances.Event_DefinitionSaved{DefinitionSaved: &instances.DefinitionSaved{}}
	case service.DefinitionDeleted:
		m.Type = instances.EventType_EVENT_TYPE_DEFINITION_DELETED
		m.Payload = &instances.Event_DefinitionDeleted{DefinitionDeleted: &instances.DefinitionDeleted{}}
	default:
		return sqldb.Message{}, fmt.Errorf("there is no event for a %T", e.What)
	}
	key := e.ID
	if key == "" {
		key = e.Slug
	}
	return events.NewMessage(instances.Topic, key, e.Time, m)
}
