package sqldb_test

import (
	"fmt"
	"testing"

	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
)

// BenchmarkQueryRow measures a look-up of one row by its key among 100,000, on a context that can be cancelled.
func BenchmarkQueryRow(b *testing.B) {
	db := sqldbtest.Open(b, sqldbtest.SQLiteURL(b))
	createPets(b, db)
	const rows = 100_000
	mustWrite(b, db, func(tx *sqldb.Tx) error {
		for i := range rows {
			if err := addPet(b.Context(), fmt.Sprint(i))(tx); err != nil {
				return err
			}
		}
		return nil
	})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		var name string
		if err := db.QueryRow(b.Context(), "SELECT name FROM pets WHERE name = ?", fmt.Sprint(i%rows)).Scan(&name); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite measures durable writes of one row by many writers.
func BenchmarkWrite(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db := sqldbtest.Open(b, sqldbtest.SQLiteURL(b))
			createPets(b, db)
			b.SetParallelism(writers)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					err := db.Write(b.Context(), func(tx *sqldb.Tx) error {
						_, err := tx.Exec(b.Context(), "INSERT INTO pets (name) VALUES (lower(hex(randomblob(8))))")
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
