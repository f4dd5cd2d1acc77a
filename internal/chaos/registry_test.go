package chaos_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"micromesh/internal/cluster"
)

// TestRegistryReplicasPartitioned stops NATS, by which replicas of the registry hear of each other, and lets two owners
// register the same URLs at once. Calls go to both replicas in turn.
func TestRegistryReplicasPartitioned(t *testing.T) {
	const row, urls, tries = "two registry replicas, partitioned", 30, 4
	m := start(t, cluster.Config{Replicas: map[string]int{"registry": 2}})
	tokens := []string{m.Register(t, "first-svc"), m.Register(t, "second-svc")}
	m.cluster.NATS.Kill()
	won := make([][]int, urls) // who was told that the URL is theirs, for each URL
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for n := range urls {
		for who, token := range tokens {
			for range tries {
				wg.Go(func() {
					in := obj{"id": fmt.Sprintf("i-%d-%d", who, n), "url": fmt.Sprintf("http://127.0.2.%d:81", n+1)}
					s := status(t, "PUT", m.URL+"/registry-svc/instance", token, in)
					mu.Lock()
					defer mu.Unlock()
					statuses[s]++
					if (s == http.StatusCreated || s == http.StatusOK) && !slices.Contains(won[n], who) {
						won[n] = append(won[n], who)
					}
				})
			}
		}
	}
	wg.Wait()
	owned := 0
	for n, who := range won {
		if len(who) > 1 {
			t.Errorf("URL %d was given to both", n)
		}
		owned += min(len(who), 1)
	}
	figure(t, row, "%d URLs, %d registrations: %d URLs had an owner, none had two; answers by status: %v", urls, urls*tries*len(tokens), owned, statuses)
	if owned == 0 {
		t.Error("nobody could register while the replicas were partitioned")
	}
	m.cluster.NATS.Start()
	m.cluster.AwaitReady()
	owners := map[string][]string{}
	for _, in := range m.Do(t, "GET", "/registry-svc/instances", m.token, nil).Must(t, http.StatusOK).Field("instances").([]any) {
		i := in.(obj)
		url, slug := i["url"].(string), i["slug"].(string)
		if !slices.Contains(owners[url], slug) {
			owners[url] = append(owners[url], slug)
		}
	}
	for url, slugs := range owners {
		if len(slugs) > 1 {
			t.Errorf("%s belongs to %v", url, slugs)
		}
	}
}
