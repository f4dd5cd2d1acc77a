// Package service is the domain of the user service: who people and services are, how they sign in, and what they may do.
//
// A [Service] holds the rules; what it needs of the world (a database, a mailer, a signature, the other processes) are the
// ports in ports.go and store.go. Each method takes a [Caller], whose token was verified, and checks itself what the caller
// may do beyond what the method's access rule says. All errors are of package errs and safe to show.
package service
