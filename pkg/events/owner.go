package events

import (
	"micromesh/pkg/events/proto/accounts"
	"micromesh/pkg/events/proto/instances"
	"micromesh/pkg/events/proto/routes"
)

// Owner is the slug of the service that publishes a topic's events, and the only one whose events of it are believed: those
// of the mesh's own topics, and for any other topic the service whose slug it is.
func Owner(topic string) string {
	switch topic {
	case accounts.Topic:
		return accounts.Owner
	case instances.Topic:
		return instances.Owner
	case routes.Topic:
		return routes.Owner
	}
	return topic
}

// meshTopics are those of the mesh's own services.
func meshTopics() []string { return []string{accounts.Topic, instances.Topic, routes.Topic} }
