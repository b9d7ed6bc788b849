// Package mapping says what is not the same at a mirror's destination: names of
// schemas, tables and columns, columns that are left out, types, rows. Copy,
// stream, comparison of schemas and verification all ask it, so that they
// cannot differ.
//
// Names. Mapping.Destination is injective, and Mapping.Source is its inverse:
// a table that would get the name of another is refused, never merged with it.
// The same holds for the columns of a Table. A nil *Mapping and a nil *Table
// are those of a mirror in which everything is the same.
//
// Types. A column is cast where the mapping says so, to the type that it has at
// the destination. The copy casts on the source (SELECT c::type), the stream at
// the destination ($1::source::type), and CastOf allows only what gives the
// same value in both places: PostgreSQL's own casts between its own types that
// no setting changes, or settings that both sessions have pinned (sync/connect),
// and values that go as text, which only the destination reads.
//
// Rows. Which rows are published is decided by PostgreSQL where it writes the
// stream, by the publication's row filter alone; a filter of the mirror's own
// would hold for the copy and not for changes. So a mirror's row_filter says
// which filter the publication has to have: FilterProblem refuses another, and
// says how to make it so. The copy reads with the publication's.
//
// The package is pure: it asks no server. Everything in it is unchangeable once
// made, and may be used by any number of goroutines.
package mapping
