package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"micromesh/pkg/errs"
	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/instances"
	"micromesh/pkg/kv"
	"micromesh/pkg/routing"
	"micromesh/registry/app"
)

func TestRegisterInstance(t *testing.T) {
	m := start(t)
	address := listen(t)
	r := m.mustRegister("pets", `{"url":"HTTP://`+address+`/","deploymentId":"d1","metadata":{"zone":"a"}}`)
	if r.ID == "" || r.Generation != 1 || r.LeaseSeconds != 30 {
		t.Errorf("the answer is %+v", r)
	}
	m.eventually("it is checked and published", func() bool {
		in, ok := m.published("pets", r.ID)
		return ok && in.Status == routing.Healthy
	})
	got, _ := m.find(r.ID)
	_, port := splitAddress(t, address)
	want := instance{
		ID: r.ID, Slug: "pets", URL: "http://" + address, Scheme: "http", IP: "127.0.0.1", Port: port, DeploymentID: "d1",
		Status: "Healthy", Generation: 1, Metadata: map[string]string{"zone": "a"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(instance{}, "LastHeartbeat")); diff != "" {
		t.Errorf("the instance differs (-want +got):\n%s", diff)
	}
	if age := time.Since(got.LastHeartbeat); age < 0 || age > 10*time.Second {
		t.Errorf("the last heartbeat was at %v", got.LastHeartbeat)
	}
}

func TestRegisteringAgainIsTheHeartbeat(t *testing.T) {
	m := start(t)
	body := `{"url":"http://` + listen(t) + `"}`
	first := m.mustRegister("pets", body)
	before, _ := m.find(first.ID)
	again := m.mustRegister("pets", body)
	if again != first {
		t.Errorf("the heartbeat answered %+v after %+v", again, first)
	}
	after, _ := m.find(first.ID)
	if !after.LastHeartbeat.After(before.LastHeartbeat) || len(m.list("pets", "{}")) != 1 {
		t.Errorf("after the heartbeat: %+v, before: %+v", after, before)
	}
}

func TestWhatWasRegisteredIsThereAfterARestart(t *testing.T) {
	m := start(t)
	r := m.mustRegister("pets", `{"url":"http://`+listen(t)+`","tags":["a"],"metadata":{"k":"v"},"healthPath":""}`)
	m.eventually("it is healthy", func() bool { in, _ := m.find(r.ID); return in.Status == "Healthy" })
	before, _ := m.find(r.ID)
	m.restart()
	after, ok := m.find(r.ID)
	if diff := cmp.Diff(before, after, cmpopts.EquateApproxTime(5*time.Second)); !ok || diff != "" {
		t.Errorf("it differs after the restart (-before +after):\n%s", diff)
	}
}

func TestChangeRaisesTheGenerationAndMoves(t *testing.T) {
	m := start(t)
	one, two := listen(t), listen(t)
	r := m.mustRegister("pets", `{"id":"pets-1","url":"http://`+one+`"}`)
	r2 := m.mustRegister("pets", `{"id":"pets-1","url":"http://`+two+`"}`)
	if r2.ID != "pets-1" || r2.Generation != r.Generation+1 {
		t.Errorf("the move answered %+v", r2)
	}
	m.eventually("the new URL is published", func() bool {
		in, _ := m.published("pets", "pets-1")
		return in.URL == "http://"+two && in.Status == routing.Healthy
	})
	// Where it was is free for anyone.
	if _, err := m.register("other", `{"url":"http://`+one+`"}`); err != nil {
		t.Errorf("the URL that it left is still taken: %v", err)
	}
	r3 := m.mustRegister("pets", `{"id":"pets-1","url":"http://`+two+`","metadata":{"a":"b"}}`)
	if r3.Generation != r2.Generation+1 {
		t.Errorf("the change answered %+v", r3)
	}
}

func TestRemoveInstance(t *testing.T) {
	m := start(t)
	address := listen(t)
	r := m.mustRegister("pets", `{"url":"http://`+address+`"}`)
	m.eventually("it is published", func() bool { _, ok := m.published("pets", r.ID); return ok })
	remove := func(as, id string) error { return m.call(as, "RemoveInstance", `{"id":"`+id+`"}`, nil) }
	wantKind(t, remove("other", r.ID), errs.Forbidden)
	wantKind(t, remove("pets", "nothing"), errs.NotFound)
	if err := remove("pets", r.ID); err != nil {
		t.Fatal(err)
	}
	wantKind(t, remove("pets", r.ID), errs.NotFound)
	m.eventually("it is not published any more", func() bool { _, ok := m.published("pets", r.ID); return !ok })
	// The admin may remove anybody's.
	r = m.mustRegister("pets", `{"url":"http://`+address+`"}`)
	if err := remove("admin", r.ID); err != nil {
		t.Error(err)
	}
}

func TestListInstances(t *testing.T) {
	m := start(t)
	a := m.mustRegister("pets", `{"id":"a","url":"http://127.0.0.1:7001/x","deploymentId":"d1"}`)
	b := m.mustRegister("pets", `{"id":"b","scheme":"https","host":"pets.test","ip":"127.9.0.1","port":7002,"deploymentId":"d2"}`)
	c := m.mustRegister("shop", `{"id":"c","url":"http://127.0.0.1:7003","deploymentId":"d1"}`)
	for name, c := range map[string]struct {
		as, filter string
		want       []string
	}{
		"one's own":            {"pets", `{}`, []string{a.ID, b.ID}},
		"a stranger":           {"nobody", `{}`, nil},
		"another's by slug":    {"pets", `{"slug":"shop"}`, nil},
		"another's by id":      {"pets", `{"id":"c"}`, nil},
		"scheme":               {"pets", `{"scheme":"https"}`, []string{b.ID}},
		"ip":                   {"pets", `{"ip":"127.9.0.1"}`, []string{b.ID}},
		"host":                 {"pets", `{"host":"pets.test"}`, []string{b.ID}},
		"deployment":           {"admin", `{"deploymentId":"d1"}`, []string{a.ID, c.ID}},
		"filters combine":      {"admin", `{"deploymentId":"d1","slug":"shop"}`, []string{c.ID}},
		"exact, no prefixes":   {"admin", `{"slug":"pet"}`, nil},
		"the proxy sees all":   {"proxy-svc", `{"scheme":"http"}`, []string{a.ID, c.ID}},
		"RPC services, admin":  {"admin", `{"scheme":"grpc","slug":"registry-svc"}`, []string{app.Name + "-" + m.host.ID}},
		"RPC services, others": {"pets", `{"scheme":"grpc"}`, nil},
		"RPC services, own":    {"registry-svc", `{}`, []string{app.Name + "-" + m.host.ID}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, i := range m.list(c.as, c.filter) {
				got = append(got, i.ID)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("instances differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInstanceWhoseLeaseEndsExpires(t *testing.T) {
	m := start(t, func(c *app.Config) { c.Lease = time.Second })
	dead, err := m.beat("pets", `{"id":"dead","url":"http://127.0.0.1:1"}`)
	if err != nil {
		t.Fatal(err)
	}
	if r := m.mustRegister("other", `{"url":"http://127.0.0.1:3"}`); len(dead.ProofKey) != 64 || r.ProofKey != "" {
		t.Errorf("the keys are %q and %q", dead.ProofKey, r.ProofKey)
	}
	silent := m.mustRegister("pets", `{"id":"silent","url":"http://`+listen(t)+`"}`)
	const beating = `{"id":"beating","url":"http://127.0.0.1:2"}`
	m.beat("pets", beating)
	m.eventually("the dead one expires", func() bool {
		m.beat("pets", beating)
		_, there := m.find(dead.ID)
		return !there
	})
	if in, ok := m.find("beating"); !ok || in.Status != "Unreachable" {
		t.Errorf("the one that beats and can't be reached is %+v", in)
	}
	if in, ok := m.find(silent.ID); !ok || in.Status != "Healthy" {
		t.Errorf("the one that is well and silent is %+v", in)
	}
	m.eventually("the dead one is not published", func() bool { _, ok := m.published("pets", "dead"); return !ok })
	// It may come back with the generation that it had.
	r, err := m.register("pets", fmt.Sprintf(`{"id":"dead","url":"http://127.0.0.1:1","generation":%d}`, dead.Generation))
	if err != nil || r.Generation != dead.Generation+1 {
		t.Errorf("coming back answered %+v, %v", r, err)
	}
}

func TestDefinitions(t *testing.T) {
	m := start(t)
	const def = `{"id":"pets","apiSpecs":[{"protocolType":"openapi","url":"http://x/y","version":"1","metadata":{"a":"b"}}],
		"clients":[{"language":"Go","url":"https://example.com"}],"envars":[{"key":"A","value":"B"}],
		"image":{"internalPorts":[80],"name":"pets:1"},"ports":[{"host":8080,"internal":80}],
		"repository":{"buildContext":".","containerFile":"Dockerfile","internalPorts":[80],"url":"https://git.test/x","version":"v1"}}`
	save := func(as, def string) error { return m.call(as, "SaveDefinition", `{"definition":`+def+`}`, nil) }
	if err := save("pets", def); err != nil {
		t.Fatal(err)
	}
	wantKind(t, save("other", def), errs.Forbidden)
	wantKind(t, save("pets", `{"id":"pets","ports":[{"host":70000,"internal":80}]}`), errs.Invalid)
	wantKind(t, save("pets", `{"id":"pets","image":{"name":"x","internalPorts":[-1]}}`), errs.Invalid)
	wantKind(t, save("pets", `{"id":"pets","clients":[{"language":"Cobol","url":"x"}]}`), errs.Invalid)
	if err := save("admin", `{"id":"shop"}`); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Definitions []json.RawMessage `json:"definitions"`
	}
	if err := m.call("other", "ListDefinitions", "{}", &got); err != nil || len(got.Definitions) != 2 {
		t.Fatalf("listed %d definitions: %v", len(got.Definitions), err)
	}
	var want, have any
	_ = json.Unmarshal([]byte(def), &want)
	_ = json.Unmarshal(got.Definitions[0], &have)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("the definition differs (-want +got):\n%s", diff)
	}
	remove := func(as string) error { return m.call(as, "DeleteDefinition", `{"id":"pets"}`, nil) }
	wantKind(t, remove("other"), errs.Forbidden)
	if err := remove("pets"); err != nil {
		t.Error(err)
	}
	wantKind(t, remove("pets"), errs.NotFound)
}

func TestNodes(t *testing.T) {
	m := start(t, func(c *app.Config) { c.NodeURL = "http://node-1"; c.Region = "eu" })
	var self struct {
		Node struct {
			ID, URL, Region string
			GPUs            []any `json:"gpus"`
			Usage           struct {
				CPU, Memory, Disk struct{ Total, Used, Percent float64 }
			}
		}
	}
	if err := m.call("admin", "SelfNode", "{}", &self); err != nil {
		t.Fatal(err)
	}
	n := self.Node
	if n.ID == "" || n.URL != "http://node-1" || n.Region != "eu" || n.GPUs == nil || n.Usage.CPU.Total == 0 || n.Usage.Memory.Used == 0 || n.Usage.Disk.Total == 0 {
		t.Errorf("the node is %+v", n)
	}
	nodes := func() (out struct{ Nodes []struct{ ID string } }) {
		if err := m.call("admin", "ListNodes", "{}", &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	m.eventually("the node is stored", func() bool { return len(nodes().Nodes) == 1 })
	remove := func() error { return m.call("admin", "DeleteNode", `{"url":"http://node-1"}`, nil) }
	if err := remove(); err != nil {
		t.Error(err)
	}
	wantKind(t, remove(), errs.NotFound)
	wantKind(t, m.call("pets", "SelfNode", "{}", nil), errs.Forbidden)
	wantKind(t, m.call("pets", "ListNodes", "{}", nil), errs.Forbidden)
}

func TestEcho(t *testing.T) {
	m := start(t)
	const want = `{"a":[1,"b",null],"c":{"d":true}}`
	for _, method := range []string{"EchoGet", "EchoPut", "EchoPost"} {
		var got, sent any
		if err := m.call("", method, want, &got); err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal([]byte(want), &sent)
		if diff := cmp.Diff(sent, got); diff != "" {
			t.Errorf("%s answers otherwise (-want +got):\n%s", method, diff)
		}
	}
}

func TestBucketThatNATSLostIsFilledAgain(t *testing.T) {
	m := start(t)
	first := m.mustRegister("pets", `{"url":"http://`+listen(t)+`"}`)
	m.eventually("it is published", func() bool { _, ok := m.published("pets", first.ID); return ok })
	if err := m.host.JS.DeleteKeyValue(t.Context(), kv.Instances); err != nil {
		t.Fatal(err)
	}
	second := m.mustRegister("pets", `{"url":"http://`+listen(t)+`"}`)
	m.eventually("all are published again", func() bool {
		_, one := m.published("pets", first.ID)
		_, two := m.published("pets", second.ID)
		return one && two
	})
}

func TestWhatHappensIsToldAsEvents(t *testing.T) {
	m := start(t)
	r := m.mustRegister("pets", `{"id":"pets-1","url":"http://`+listen(t)+`"}`)
	m.eventually("it is healthy", func() bool { in, _ := m.find(r.ID); return in.Status == "Healthy" })
	if err := m.call("pets", "RemoveInstance", `{"id":"pets-1"}`, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got []string
	err := events.Tail(ctx, m.host.Events, events.TailOptions{Topics: []string{instances.Topic}, Since: time.Hour}, func(r events.Record) error {
		got = append(got, r.Type)
		if len(got) == 3 {
			cancel()
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
	want := []string{"micromesh.instances.INSTANCE_REGISTERED", "micromesh.instances.STATUS_CHANGED", "micromesh.instances.INSTANCE_REMOVED"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
}
