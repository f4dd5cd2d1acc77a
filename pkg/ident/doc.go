// Package ident holds the grammar and the canonical form of every identifier of the mesh: slugs, roles, permissions, ids, contacts, host
// names. Each entrance checks an identifier here, so that two spellings never name two things, and one spelling never names two.
//
// An identifier is compared, and acted upon, in its canonical form alone. Functions that return a string return that form. Functions that
// return only an error accept an identifier in its canonical form alone. An identifier without a canonical form is refused.
//
// Letters are folded in ASCII only. Package strings folds letters of other scripts to ASCII ("İ" and the Kelvin sign, for example), so that
// two different names would be one.
//
// Errors complete a sentence that begins with the field's name: "slug must be 2 to 63 …".
package ident
