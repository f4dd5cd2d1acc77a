package stock

import "log/slog"

// Refusals publishes the reasons why programs can't join. A *discovery.Registry is one.
type Refusals interface {
	Refuse(name, why string) error
	Allow(name string) error
}

// refusals are the programs that can't join now.
type refusals struct {
	published map[string]string // the reasons, by name
	heard     map[string]bool   // since the last question
	missed    map[string]int    // questions in a row that a name has not been heard after
	logged    map[string]bool
}

func newRefusals() refusals {
	return refusals{published: map[string]string{}, heard: map[string]bool{}, missed: map[string]int{}, logged: map[string]bool{}}
}

// refuse logs a service that can't join and the reason, once, and publishes it.
func (b *Bridge) refuse(service, why string, details ...any) {
	r := &b.refusals
	if key := service + "\n" + why; !r.logged[key] && len(r.logged) < maxRefused {
		r.logged[key] = true
		b.cfg.Logger.Warn("stock_service_refused", append([]any{"name", service, "reason", why}, details...)...)
	}
	r.heard[service] = true
	if b.cfg.Refusals == nil || !names.MatchString(service) || r.published[service] == why {
		return
	}
	if _, known := r.published[service]; !known && len(r.published) >= maxPublished {
		return
	}
	r.published[service] = why
	if err := b.cfg.Refusals.Refuse(service, why); err != nil {
		b.cfg.Logger.Warn("stock_refusal_not_published", "name", service, "error", err)
	}
}

// allow takes back the refusals of programs that have not been heard of for as long as guests are kept.
func (b *Bridge) allow() {
	r := &b.refusals
	for name := range r.published {
		if r.heard[name] {
			delete(r.missed, name)
			continue
		}
		if r.missed[name]++; r.missed[name] < missedLimit {
			continue
		}
		delete(r.published, name)
		delete(r.missed, name)
		if err := b.cfg.Refusals.Allow(name); err != nil {
			b.cfg.Logger.Warn("stock_refusal_not_taken_back", slog.String("name", name), slog.Any("error", err))
		}
	}
	clear(r.heard)
}
