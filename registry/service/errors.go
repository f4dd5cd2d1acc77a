package service

import "micromesh/pkg/errs"

// What the domain and its stores answer.
var (
	ErrURLTaken = errs.Conflictf("another account has an instance at that URL: " +
		"register with Mesh-Api-Version: 2 and prove that the address is yours, or try again once it has refused connections for 10 s")
	ErrIDTaken = errs.Forbiddenf("an instance of another account has that id")
	ErrStale   = errs.New(errs.Conflict, "STALE_GENERATION", "this generation of the instance is over: register it without a generation")
	ErrChanged = errs.Conflictf("the instance has changed meanwhile: try again") // the database holds another version than this registry knows
)

// NoInstance is the NotFound error for an instance.
func NoInstance(id string) error { return errs.NotFoundf("there is no instance %q", id) }

// NoDefinition is the NotFound error for a definition.
func NoDefinition(id string) error { return errs.NotFoundf("there is no definition %q", id) }

// NoNode is the NotFound error for a node.
func NoNode(url string) error { return errs.NotFoundf("there is no node %q", url) }
