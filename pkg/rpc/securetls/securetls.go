// Package securetls makes go-micro verify TLS certificates, which v5 does only where MICRO_TLS_SECURE is set. Import it
// for that effect alone, wherever go-micro is.
//
// go-micro reads the variable while its package broker is initialized, so this has to come before. It does: packages
// are initialized in the order of their import paths as soon as all that they import is (Go specification, Program
// initialization). This one waits for os alone, broker waits for net/http, and micromesh comes before net/http.
package securetls

import "os"

// A variable of the operator's stands: who sets it to false wants it so.
var _ = func() bool {
	const name = "MICRO_TLS_SECURE"
	if _, set := os.LookupEnv(name); !set {
		_ = os.Setenv(name, "true") // it fails for malformed names alone
	}
	return true
}()
