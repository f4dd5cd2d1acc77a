package scaffold_test

import (
	"os"
	"testing"

	"micromesh/internal/protogen"
	"micromesh/internal/scaffold"
)

func TestMain(m *testing.M) { protogen.Plugin(); os.Exit(m.Run()) }

func TestTmp(t *testing.T) {
	n, _ := scaffold.ParseName("account")
	w, err := scaffold.New(t.Context(), scaffold.Spec{Name: n, Dir: "/tmp/nw"})
	t.Log(w, err)
	e, err := scaffold.ParseEntity("Widget", []string{"name:string", "price:int32", "weight:double", "sold:bool", "stock:int64", "made_at:timestamp", "order:string"})
	if err != nil { t.Fatal(err) }
	n, _ = scaffold.ParseName("shop-cart")
	w, err = scaffold.New(t.Context(), scaffold.Spec{Name: n, Dir: "/tmp/nw", Events: true, Entity: e})
	t.Log(w, err)
}
