// Package netpolicy decides which network addresses the mesh may connect to on behalf of others: addresses of instances and
// their health checks, of plain go-micro services, of routes.
//
// The decision is made in the dialer's Control function: at every dial, after the name was resolved, and for each
// address of a name. So a name that leads elsewhere the next time is no way around it.
//
// Some addresses are never dialled, whoever named them: see [Never]; nor are the listeners of the mesh itself. Addresses that
// accounts name must also lie in the networks of instances, which are a setting.
package netpolicy
