package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"micromesh/gateway/transcode"
)

// describe makes the descriptions of a set of bindings.
func describe(b *transcode.Bindings, version string, away map[string]bool, guests []transcode.Guest) (*Pages, error) {
	p := &Pages{}
	var err error
	if p.OpenAPI, err = b.OpenAPI(version, guests...); err != nil {
		return nil, fmt.Errorf("describe bindings: %w", err)
	}
	if p.Docs, err = b.Docs(version, away, guests...); err != nil {
		return nil, fmt.Errorf("describe bindings: %w", err)
	}
	p.OpenAPITag, p.DocsTag = tag(p.OpenAPI), tag(p.Docs)
	return p, nil
}

func tag(b []byte) string {
	sum := sha256.Sum256(b)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}
