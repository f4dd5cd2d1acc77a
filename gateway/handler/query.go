package handler

import (
	"maps"
	"net/url"
	"slices"

	"micromesh/gateway/http1"
	"micromesh/pkg/errs"
)

// queryOf returns the query of a request to one of the gateway's own pages.
//
// Errors: Invalid for a query that can't be read, or that has a parameter twice.
func queryOf(x *http1.Exchange) (url.Values, error) {
	q, err := url.ParseQuery(string(x.RawQuery()))
	if err != nil {
		return nil, errs.Invalidf("the query is not valid: %s", err)
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if n := len(q[name]); n > 1 {
			return nil, errs.Field(name, "duplicate", "is in the query %d times: send it once", n)
		}
	}
	return q, nil
}
