package datastore

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"micromesh/pkg/errs"
)

// cursor is a place in an order, behind which the next page begins. It is no secret, and not trusted.
type cursor struct {
	Order string    `json:"o"`
	Place []*string `json:"p"` // a value for each key
}

// signature tells orders apart.
func signature(keys []key) string {
	var b strings.Builder
	for _, k := range keys {
		if k.desc {
			b.WriteByte('-')
		}
		b.WriteString(k.field.name)
		b.WriteByte(' ')
	}
	return b.String()
}

func encodeCursor(keys []key, place []value) (string, error) {
	c := cursor{Order: signature(keys)}
	for _, v := range place {
		c.Place = append(c.Place, v)
	}
	b, err := json.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// decodeCursor reads a cursor of an order. Errors: Invalid.
func decodeCursor(keys []key, s string) ([]value, error) {
	invalid := errs.Field("after", "cursor", "must be the cursor that came with the page before")
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, invalid
	}
	var c cursor
	if json.Unmarshal(b, &c) != nil || len(c.Place) != len(keys) {
		return nil, invalid
	}
	if c.Order != signature(keys) {
		return nil, errs.Field("after", "cursor", "is of a page that was sorted differently")
	}
	place := make([]value, len(keys))
	for i, k := range keys {
		v := c.Place[i]
		if (v == nil && !k.field.nullable) || (v != nil && k.field.check(*v) != nil) {
			return nil, invalid
		}
		place[i] = v
	}
	return place, nil
}
