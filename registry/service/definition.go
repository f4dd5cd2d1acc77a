package service

import (
	"context"
	"fmt"

	"micromesh/pkg/errs"
)

// Definition describes a service: how it is built and run, and the APIs that it has. It is stored as JSON: names of
// fields are only ever added.
type Definition struct {
	ID         string      `json:"id"` // the service's slug
	APISpecs   []APISpec   `json:"apiSpecs,omitempty"`
	Clients    []Client    `json:"clients,omitempty"`
	EnvVars    []EnvVar    `json:"envars,omitempty"`
	Image      *Image      `json:"image,omitempty"`
	Ports      []Port      `json:"ports,omitempty"`
	Repository *Repository `json:"repository,omitempty"`
}

// APISpec is where an API is described.
type APISpec struct {
	Metadata     map[string]string `json:"metadata,omitempty"`
	ProtocolType string            `json:"protocolType,omitempty"`
	URL          string            `json:"url,omitempty"`
	Version      string            `json:"version,omitempty"`
}

// Client is a library that calls the service.
type Client struct {
	Language string `json:"language"`
	URL      string `json:"url"`
}

// EnvVar is a variable of the service's environment.
type EnvVar struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
}

// Image is the container image that runs the service.
type Image struct {
	Name          string  `json:"name"`
	InternalPorts []int32 `json:"internalPorts,omitempty"`
}

// Port leads from a port of the node to one of the container.
type Port struct {
	Host     int32 `json:"host"`
	Internal int32 `json:"internal"`
}

// Repository is the source that the service is built from.
type Repository struct {
	BuildContext  string  `json:"buildContext,omitempty"`
	ContainerFile string  `json:"containerFile,omitempty"`
	InternalPorts []int32 `json:"internalPorts,omitempty"`
	URL           string  `json:"url"`
	Version       string  `json:"version,omitempty"`
}

// Defined reports whether a slug has a definition. Errors: Unavailable.
func (s *Service) Defined(ctx context.Context, slug string) (bool, error) {
	return s.store.Defined(ctx, slug)
}

// SaveDefinition creates or replaces the definition of the caller's service.
//
// Errors: Invalid, which names every port that is none; Forbidden; Unavailable.
func (s *Service) SaveDefinition(ctx context.Context, by Caller, d Definition) error {
	if err := d.check(); err != nil {
		return err
	}
	if !by.owns(d.ID) {
		return errs.Forbiddenf("definition %q belongs to another account", d.ID)
	}
	if err := s.store.SaveDefinition(ctx, d, s.definitionEvent(by, d.ID, DefinitionSaved{})); err != nil {
		return fmt.Errorf("save definition: %w", err)
	}
	return nil
}

// DeleteDefinition deletes a definition of the caller's.
//
// Errors: NotFound; Forbidden; Unavailable.
func (s *Service) DeleteDefinition(ctx context.Context, by Caller, id string) error {
	if !by.owns(id) {
		return errs.Forbiddenf("definition %q belongs to another account", id)
	}
	if err := s.store.DeleteDefinition(ctx, id, s.definitionEvent(by, id, DefinitionDeleted{})); err != nil {
		return fmt.Errorf("delete definition: %w", err)
	}
	return nil
}

// Definitions gives all definitions: they are public among accounts.
//
// Errors: Unavailable.
func (s *Service) Definitions(ctx context.Context) ([]Definition, error) {
	all, err := s.store.Definitions(ctx)
	if err != nil {
		return nil, fmt.Errorf("list definitions: %w", err)
	}
	return all, nil
}

func (s *Service) definitionEvent(by Caller, slug string, what any) Event {
	return Event{Slug: slug, ActorID: by.UserID, What: what, Time: s.cfg.Now()}
}

func (d Definition) check() error {
	var wrong []errs.Detail
	port := func(field string, p int32) {
		if p < 0 || p > 65535 {
			wrong = append(wrong, errs.Detail{Field: field, Rule: "range", Message: "must be 0 to 65535"})
		}
	}
	for i, p := range d.Ports {
		port(fmt.Sprintf("definition.ports[%d].host", i), p.Host)
		port(fmt.Sprintf("definition.ports[%d].internal", i), p.Internal)
	}
	if d.Image != nil {
		for i, p := range d.Image.InternalPorts {
			port(fmt.Sprintf("definition.image.internalPorts[%d]", i), p)
		}
	}
	if d.Repository != nil {
		for i, p := range d.Repository.InternalPorts {
			port(fmt.Sprintf("definition.repository.internalPorts[%d]", i), p)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return errs.Invalidf("%s %s", wrong[0].Field, wrong[0].Message).With(wrong...)
}
