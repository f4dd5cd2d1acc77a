package discovery

import (
	"sync"

	"go-micro.dev/v5/registry"
)

// backlog bounds how far a watcher's reader may fall behind before the watcher ends.
const backlog = 4096

// Watch gives each change from now on as a result with the one node that it is about: "create", "update" where the
// registration differs from the last one (a mere refresh is none), and "delete" for both deregistration and expiry.
// Changes of one node that follow each other at once may become one.
// Next gives registry.ErrWatcherStopped after Stop, after Close of the registry, and to a reader that fell far behind.
func (r *Registry) Watch(opts ...registry.WatchOption) (registry.Watcher, error) {
	var o registry.WatchOptions
	for _, opt := range opts {
		opt(&o)
	}
	w := &watcher{service: o.Service, stopped: make(chan struct{}), arrived: make(chan struct{}, 1)}
	w.leave = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, w)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers[w] = struct{}{}
	return w, nil
}

type watcher struct {
	service string // "" is all
	leave   func()

	mu      sync.Mutex
	queue   []*registry.Result
	arrived chan struct{} // holds a token where the queue may not be empty

	once    sync.Once
	stopped chan struct{}
}

// offer queues results and tells whether the watcher goes on.
func (w *watcher) offer(results []*registry.Result) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, res := range results {
		if w.service == "" || w.service == res.Service.Name {
			w.queue = append(w.queue, res)
		}
	}
	if len(w.queue) > backlog {
		w.end()
		return false
	}
	select {
	case w.arrived <- struct{}{}:
	default:
	}
	return true
}

// Next waits for the next result, which the caller owns.
func (w *watcher) Next() (*registry.Result, error) {
	for {
		select {
		case <-w.stopped:
			return nil, registry.ErrWatcherStopped
		default:
		}
		if res := w.pop(); res != nil {
			return &registry.Result{Action: res.Action, Service: copyService(res.Service)}, nil
		}
		select {
		case <-w.stopped:
		case <-w.arrived:
		}
	}
}

func (w *watcher) pop() *registry.Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil
	}
	res := w.queue[0]
	w.queue = w.queue[1:]
	return res
}

// Stop ends the watcher.
func (w *watcher) Stop() {
	w.end()
	w.leave()
}

func (w *watcher) end() { w.once.Do(func() { close(w.stopped) }) }
