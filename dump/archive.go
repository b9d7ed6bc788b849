package dump

import (
	"fmt"
	"time"
)

// Version is the version of the archive format, not that of PostgreSQL.
type Version struct{ Major, Minor, Revision int }

// The formats that Read understands. pg_dump 9.0 to 10 write 1.12, 11 writes
// 1.13, 12 to 15 write 1.14, 16 writes 1.15, 17 and 18 write 1.16. (Minor
// releases of 9.3 to 10 since March 2018 write 1.13.)
var (
	oldestFormat = Version{Major: 1, Minor: 12}
	newestFormat = Version{Major: 1, Minor: 16}
)

// String gives the version as pg_restore --list shows it: "1.14-0".
func (v Version) String() string {
	return fmt.Sprintf("%d.%d-%d", v.Major, v.Minor, v.Revision)
}

// atLeast compares major and minor.
func (v Version) atLeast(other Version) bool {
	if v.Major != other.Major {
		return v.Major > other.Major
	}
	return v.Minor >= other.Minor
}

// Section is the part of an archive to which an entry belongs: what
// pg_restore --section selects by.
type Section int

// The sections, with the numbers that stand in the archive. Entries of
// SectionNone (comments, grants) belong to the section of their object.
const (
	SectionNone Section = iota + 1
	SectionPreData
	SectionData
	SectionPostData
)

// String gives the section as pg_restore --section spells it.
func (s Section) String() string {
	switch s {
	case SectionNone:
		return "none"
	case SectionPreData:
		return "pre-data"
	case SectionData:
		return "data"
	case SectionPostData:
		return "post-data"
	}
	return fmt.Sprintf("section %d", int(s))
}

// Archive is the head and the table of contents of one pg_dump archive.
type Archive struct {
	Format        Version
	Database      string    // name of the dumped database
	ServerVersion string    // "15.18 (Debian 15.18-0+deb12u1)"
	DumpVersion   string    // version of the pg_dump that wrote it
	Created       time.Time // local time of the machine that wrote it
	Entries       []Entry   // in the archive's order: dependencies come first

	// Warnings are pg_dump's own words about what it could not or would not
	// dump. Only Run fills them.
	Warnings []string
}

// Entry is one object of the table of contents. Fields which the archive
// leaves out, or which its format does not have, are empty.
type Entry struct {
	DumpID       int     // 1.., unique in its archive
	TableOID     uint32  // catalog that describes the object, 0 if none
	OID          uint32  // its OID there
	Tag          string  // name as pg_dump tags it: "orders", "orders orders_pkey", "total(integer)"
	Kind         Kind    //
	Section      Section //
	Definition   string  // SQL that creates it: maybe several statements, maybe only a comment ("-- ..."), maybe empty
	Drop         string  // SQL that drops it
	Copy         string  // COPY ... FROM stdin, of data entries
	Namespace    string  // schema, "" for objects outside schemas
	Tablespace   string  // value for default_tablespace, "" is the database's own
	AccessMethod string  // value for default_table_access_method; format 1.14 and newer
	Relkind      byte    // pg_class.relkind of a TABLE entry, else 0; format 1.16 and newer
	Owner        string  // role
	WithOIDs     bool    // a table WITH OIDS of a server before 12
	HasData      bool    // a data dumper is attached: rows follow in a full archive
	Dependencies []int   // DumpIDs that come first; may name entries that are not in the archive
}

// Limits bound what Read takes from an archive. A zero field means its default.
type Limits struct {
	MaxEntries int   // entries of the table of contents; default 5,000,000
	MaxString  int   // bytes of one string; default 64 MiB
	MaxTotal   int64 // bytes of head and table of contents together; default 2 GiB
}

func (l Limits) withDefaults() Limits {
	if l.MaxEntries <= 0 {
		l.MaxEntries = 5_000_000
	}
	if l.MaxString <= 0 {
		l.MaxString = 64 << 20
	}
	if l.MaxTotal <= 0 {
		l.MaxTotal = 2 << 30
	}
	return l
}
