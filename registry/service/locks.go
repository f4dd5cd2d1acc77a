package service

import (
	"context"
	"hash/maphash"
	"time"

	"micromesh/pkg/errs"
)

// lockWait is how long a call waits for its turn at an instance: those before it may have a database that doesn't answer.
const lockWait = time.Second

// locks are held by whoever has put something in.
type locks struct {
	all  [1024]chan struct{}
	seed maphash.Seed
}

func newLocks() locks {
	l := locks{seed: maphash.MakeSeed()}
	for i := range l.all {
		l.all[i] = make(chan struct{}, 1)
	}
	return l
}

// of gives the locks of an instance's id, which may be empty, and URL, in the order in which everybody takes them.
func (l *locks) of(id, url string) []chan struct{} {
	at := func(name string) int { return int(maphash.String(l.seed, name) % uint64(len(l.all))) }
	first := at("url " + url)
	second := first
	if id != "" {
		second = at("id " + id)
	}
	if second == first {
		return []chan struct{}{l.all[first]}
	}
	return []chan struct{}{l.all[min(first, second)], l.all[max(first, second)]}
}

// take takes locks in their order, unless the time is over first; a nil channel leaves all the time.
func take(all []chan struct{}, over <-chan struct{}) (unlock func(), ok bool) {
	held := 0
	unlock = func() {
		for _, l := range all[:held] {
			<-l
		}
	}
	for _, l := range all {
		select {
		case l <- struct{}{}:
			held++
		case <-over:
			unlock()
			return nil, false
		}
	}
	return unlock, true
}

// lock takes the locks of an instance's id, which may be empty, and URL.
func (s *Service) lock(id, url string) (unlock func()) {
	unlock, _ = take(s.locks.of(id, url), nil)
	return unlock
}

// lockSoon is lock for a caller who waits for an answer.
//
// Errors: Unavailable.
func (s *Service) lockSoon(ctx context.Context, id, url string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	unlock, ok := take(s.locks.of(id, url), ctx.Done())
	if !ok {
		return nil, errs.New(errs.Unavailable, "", "the registry is busy with this instance: try again").Because(ctx.Err())
	}
	return unlock, nil
}
