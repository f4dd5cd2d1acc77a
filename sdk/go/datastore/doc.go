// Package datastore keeps documents of a Go type in SQLite or Postgres, without any SQL in the service that uses it.
//
//	db, err := datastore.Open(ctx, "sqlite:pets.db")
//	pets, err := datastore.NewCollection[Pet](ctx, db, "pets", datastore.WithIndex("kind", "age"))
//	err = pets.Create(ctx, Pet{ID: "rex", Kind: "dog", Age: 3})
//	dogs, next, err := pets.Query(ctx, datastore.Query{
//		Where:   datastore.And(datastore.Eq("kind", "dog"), datastore.Ge("age", 2)),
//		OrderBy: []datastore.Order{datastore.Desc("age"), datastore.Asc("name")},
//		Limit:   20,
//	})
//
// # Fields
//
// Queries name a field as the document's JSON does, with dots into nested structs: "owner.name". Those that can be asked for are
// strings, numbers (but for uint, uint64 and uintptr, which one of the databases can't hold), booleans, times, and pointers to
// these; not what lies behind a pointer to a struct, in a slice or in a map, nor what marshals itself. Names are checked
// against the type, values against the field's: both may come from a client.
//
// A query sees what Get would decode. So a field that the JSON leaves out has its zero value; but a pointer that is
// nil is missing: it is unequal to every value, neither less nor greater than any, and sorts before all.
// A type may gain and lose fields as a program grows; a field keeps its type.
//
// # The same on both databases
//
// Texts are compared byte by byte, numbers by their value, false before true. Times are stored in UTC and compared to the
// nanosecond. What one of the databases couldn't keep is refused on both: the character U+0000, half a surrogate
// pair, and values nested deeper than 500.
//
// # Durability
//
// A write that was answered without an error outlives a crash. Writes of one call are made together or not at all.
package datastore
