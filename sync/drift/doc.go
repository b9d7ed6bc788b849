// Package drift compares two databases and says what a difference means. It is
// pure: it looks at what was read before and never opens a connection.
//
// Whole databases are compared by dumps that one pg_dump made (Compare): two
// entries are the same object when their keys are equal (kind, schema, tag), and
// they are equal when pg_dump wrote the same text for both. That covers every
// kind of object pg_dump knows, because pg_dump's text is what would re-create
// it.
//
// Tables that are being mirrored are compared by their descriptions
// (CompareTables), column by column, because what counts there is whether every
// row still arrives. The rules are data: TypeRules for pairs of types, Cases
// for everything else; tests show each of them to be right on real servers.
// Judge says what the differences of one table mean under a Policy, and the
// ways out of a stop; Migrate plans the statements that bring the destination
// to the source.
package drift
