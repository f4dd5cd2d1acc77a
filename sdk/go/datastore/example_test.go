package datastore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"micromesh/pkg/errs"
	"micromesh/sdk/go/datastore"
)

// Animal is a document. Its ID names it.
type Animal struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	Age  int    `json:"age"`
}

// zoo opens a collection with some animals, in a file of its own.
func zoo(ctx context.Context) (animals *datastore.Collection[Animal], closeIt func()) {
	dir, err := os.MkdirTemp("", "zoo-")
	if err != nil {
		log.Fatal(err)
	}
	db, err := datastore.Open(ctx, "sqlite:"+filepath.Join(dir, "zoo.db"))
	if err != nil {
		log.Fatal(err)
	}
	if animals, err = datastore.NewCollection[Animal](ctx, db, "animals", datastore.WithIndex("kind", "age")); err != nil {
		log.Fatal(err)
	}
	if err := animals.Create(ctx, Animal{"rex", "dog", 3}, Animal{"tom", "cat", 2}, Animal{"bo", "dog", 7}, Animal{"ada", "dog", 5}); err != nil {
		log.Fatal(err)
	}
	return animals, func() { _ = db.Close(); _ = os.RemoveAll(dir) }
}

// Documents of a type, kept and found again.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "pets-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	db, err := datastore.Open(ctx, "sqlite:"+filepath.Join(dir, "pets.db")) // or postgres://…
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	pets, err := datastore.NewCollection[Animal](ctx, db, "pets", datastore.WithIndex("kind", "age"))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := pets.Create(ctx, Animal{ID: "rex", Kind: "dog", Age: 3}, Animal{ID: "tom", Kind: "cat", Age: 2}); err != nil {
		fmt.Println(err)
		return
	}
	dogs, _, err := pets.Query(ctx, datastore.Query{Where: datastore.Eq("kind", "dog")})
	fmt.Println(dogs, err)
	// Output:
	// [{rex dog 3}] <nil>
}

// A page after the other, by the cursor that each gives.
func ExampleCollection_Query() {
	ctx := context.Background()
	animals, closeIt := zoo(ctx)
	defer closeIt()
	q := datastore.Query{
		Where:   datastore.And(datastore.Eq("kind", "dog"), datastore.Ge("age", 3)),
		OrderBy: []datastore.Order{datastore.Desc("age")},
		Limit:   2,
	}
	for {
		page, next, err := animals.Query(ctx, q)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(page)
		if next == "" {
			break
		}
		q.After = next
	}
	_, _, err := animals.Query(ctx, datastore.Query{Where: datastore.Eq("colour", "red")})
	fmt.Println(errs.Is(err, errs.Invalid))
	// Output:
	// [{bo dog 7} {ada dog 5}]
	// [{rex dog 3}]
	// true
}

// A change is made on what is there, by one writer at a time; an error of it leaves all as it was.
func ExampleCollection_Update() {
	ctx := context.Background()
	animals, closeIt := zoo(ctx)
	defer closeIt()
	fmt.Println(animals.Update(ctx, "tom", func(a *Animal) error { a.Age++; return nil }))

	_, err := animals.Update(ctx, "tom", func(a *Animal) error { a.Age = -1; return errors.New("nobody is that young") })
	fmt.Println(err)
	fmt.Println(animals.Get(ctx, "tom"))
	// Output:
	// {tom cat 3} <nil>
	// nobody is that young
	// {tom cat 3} <nil>
}

func ExampleCollection_DeleteWhere() {
	ctx := context.Background()
	animals, closeIt := zoo(ctx)
	defer closeIt()
	fmt.Println(animals.DeleteWhere(ctx, datastore.Lt("age", 5)))
	fmt.Println(animals.Count(ctx, datastore.Filter{}))
	_, err := animals.Get(ctx, "rex")
	fmt.Println(errs.Is(err, errs.NotFound))
	// Output:
	// 2 <nil>
	// 2 <nil>
	// true
}
