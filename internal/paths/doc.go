// Package paths computes the readings of a request's path: the paths that a server behind the gateway may make of the bytes that
// were sent. A guard that compares only the sent bytes is bypassed by another spelling of the same resource.
//
// Servers differ in these steps, and in their order:
//
//   - Percent-encoding is decoded once, twice or not at all, with or without encoded slashes, and also as %uXXXX.
//   - Parameters after a semicolon are cut off each segment, off the last one, or with all that follows them.
//   - Repeated slashes are collapsed, a backslash is a slash, a slash at the end is dropped.
//   - A decoded question mark or number sign ends the path.
//   - Control characters, spaces and pluses around a segment and dots at its end are dropped; a space is a +.
//   - Sessions of ASP.NET such as (S(x)) and streams of NTFS such as ::$DATA are dropped.
//   - Overlong UTF-8 is decoded, invalid UTF-8 and invisible characters are dropped.
//   - Look-alikes become the ASCII characters that they stand for: fullwidth letters and slashes, the Kelvin sign.
//
// [Read] applies each step to every result until nothing new appears, so the order of the steps doesn't matter. Letter case is not a
// step: a [Tree] compares patterns with a reading both as it is and in folded case.
//
// Readings are for refusing. A guard applies if any reading matches it, and a path is public only if all of its readings are.
// Requests are always forwarded, and cached, by the bytes that were sent: two spellings never share an entry of a cache.
//
// A suffix that names a format (/users.json for /users) is not a reading: it is a different resource on most servers.
package paths
