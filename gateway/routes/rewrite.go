package routes

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"micromesh/internal/paths"
)

// Rewrite makes the path that an upstream receives of the path that the client sent. Values of parameters are copied as they were sent, with
// their percent-encoding.
type Rewrite struct {
	strip   int           // segments that are removed; 0 if the path is replaced
	pattern paths.Pattern // of the path that was sent
	to      paths.Pattern // of the path that is received
}

// Path returns the path that the upstream receives. The sent path must be one that the pattern matches.
func (w *Rewrite) Path(sent string) string {
	segments, rest := w.split(sent)
	var b strings.Builder
	for _, s := range w.to {
		switch {
		case s.Rest:
			b.WriteString(rest)
			rest = ""
		case s.Param != "":
			b.WriteString("/" + segments[s.Param])
		default:
			b.WriteString("/" + s.Literal)
		}
	}
	if n := len(w.pattern); n == 0 || !w.pattern[n-1].Rest {
		b.WriteString(rest) // a slash at the end
	}
	return "/" + strings.TrimLeft(b.String(), "/") // two slashes would be read as an authority
}

// Prefix returns the first segments of the sent path, which are removed; "" if the path is replaced.
func (w *Rewrite) Prefix(sent string) string {
	rest := sent
	for range w.strip {
		if rest == "" {
			break
		}
		value, _, _ := strings.Cut(rest[1:], "/")
		rest = rest[1+len(value):]
	}
	return sent[:len(sent)-len(rest)]
}

// split returns the values of the parameters of a path, and what follows the segments of the pattern, with its slash.
func (w *Rewrite) split(sent string) (values map[string]string, rest string) {
	values = map[string]string{}
	for _, s := range w.pattern {
		if s.Rest || sent == "" {
			break
		}
		value, _, _ := strings.Cut(sent[1:], "/")
		if s.Param != "" {
			values[s.Param] = value
		}
		sent = sent[1+len(value):]
	}
	return values, sent
}

// rewrite reads rewrite and strip_prefix of a route or a slug, of which at most one may be set.
func (p *parser) rewrite(f map[string]*yaml.Node, pattern paths.Pattern) *Rewrite {
	strip, to := f["strip_prefix"], f["rewrite"]
	switch {
	case strip != nil && to != nil:
		p.mistake(to, "rewrite and strip_prefix can't be both; rewrite replaces the whole path")
	case strip != nil:
		prefix, ok := p.segments(strip, "strip_prefix")
		if !ok {
			return nil
		}
		if len(prefix) == 0 || len(prefix) > len(pattern) || !slices.Equal(prefix, pattern[:len(prefix)]) || prefix[len(prefix)-1].Rest {
			p.mistake(strip, "strip_prefix is %q; it must be the first segments of the path, such as %q", strip.Value, text(pattern[:min(1, len(pattern))]))
			return nil
		}
		return &Rewrite{strip: len(prefix), pattern: pattern, to: pattern[len(prefix):]}
	case to != nil:
		target, ok := p.segments(to, "rewrite")
		if !ok {
			return nil
		}
		for _, s := range target {
			if s.Literal == "" && !slices.Contains(pattern, s) {
				p.mistake(to, "rewrite %q: the path has no %s to put in; it is %s", to.Value, text(paths.Pattern{s})[1:], text(pattern))
				return nil
			}
		}
		return &Rewrite{pattern: pattern, to: target}
	}
	return nil
}

// slugs reads how the paths of slugs are rewritten.
func (p *parser) slugs(n *yaml.Node) {
	if n == nil || n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.mistake(n, "slugs must be a mapping from slugs to strip_prefix or rewrite")
		return
	}
	p.table.slugs = map[string]*Rewrite{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		f := p.fields(n.Content[i+1], "a slug", "strip_prefix", "rewrite")
		switch {
		case f == nil:
		case !slugForm.MatchString(key.Value):
			p.mistake(key, "slugs: %q is no slug; a slug is like widgets-svc", key.Value)
		case isOwn("/" + key.Value):
			p.mistake(key, "slugs: %s is the mesh's own; take another one", key.Value)
		case p.table.slugs[key.Value] != nil:
			p.mistake(key, "%s is there twice", key.Value)
		case len(f) == 0:
			p.mistake(key, "slugs: %s has neither strip_prefix nor rewrite; set one of them", key.Value)
		default:
			if w := p.rewrite(f, paths.Pattern{{Literal: key.Value}, {Rest: true}}); w != nil {
				p.table.slugs[key.Value] = w
			}
		}
	}
}

// text writes a pattern as files do.
func text(pattern paths.Pattern) string {
	var b strings.Builder
	for _, s := range pattern {
		switch {
		case s.Rest:
			b.WriteString("/*")
		case s.Param != "":
			b.WriteString("/{" + s.Param + "}")
		default:
			b.WriteString("/" + s.Literal)
		}
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}
