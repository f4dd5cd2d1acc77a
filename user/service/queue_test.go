package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// works has callers work in a queue, each for 100 ms, and returns in which order they did, and who was refused.
func works(size int, callers [][2]string) (done, refused []string) {
	q := newQueue(size)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, c := range callers {
		name := fmt.Sprint(c[0], "/", c[1], "/", i)
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Microsecond) // in this order
			leave, err := q.enter(context.Background(), c[0], c[1])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				refused = append(refused, name)
				return
			}
			done = append(done, name)
			time.AfterFunc(100*time.Millisecond, leave)
		})
	}
	wg.Wait()
	return done, refused
}

func TestQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var callers [][2]string
		for range 10 {
			callers = append(callers, [2]string{"attacker", "victim"})
		}
		callers = append(callers, [2]string{"attacker", "other"}, [2]string{"office", "ann"}, [2]string{"office", "bob"})
		done, refused := works(1, callers)
		if len(done) != 13 || len(refused) != 0 {
			t.Fatalf("done %v, refused %v", done, refused)
		}
		if got := []int{slices.Index(done, "office/ann/11"), slices.Index(done, "office/bob/12"), slices.Index(done, "attacker/other/10")}; got[0] != 1 || got[1] > 3 || got[2] > 4 {
			t.Errorf("they came at %v: %v", got, done)
		}
	})
}

func TestQueueHasBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var callers [][2]string
		for i := range mostWaiting + 41 {
			callers = append(callers, [2]string{"attacker", fmt.Sprint(i)})
		}
		callers = append(callers, [2]string{"office", "ann"})
		began := time.Now()
		done, refused := works(1, callers)
		if took := time.Since(began); took > longestWait+time.Second {
			t.Errorf("they waited %v", took)
		}
		if n := len(done) + len(refused); n != len(callers) || len(done) < 19 || !slices.Contains(done, fmt.Sprint("office/ann/", len(callers)-1)) {
			t.Errorf("%d of %d, of which %d were served: %v", n, len(callers), len(done), done)
		}
	})
}

func TestQueueForgetsThoseWhoLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		leave, err := q.enter(t.Context(), "a", "a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { _, err := q.enter(ctx, "b", "b"); gone <- err }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
		leave()
		again, err := q.enter(t.Context(), "c", "c")
		if err != nil {
			t.Fatal(err)
		}
		again()
		if q.free != 1 || len(q.waiting) != 0 || len(q.served) != 0 {
			t.Errorf("left are %d places, %d who wait, %v", q.free, len(q.waiting), q.served)
		}
	})
}
