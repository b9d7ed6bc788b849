package dump

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// magic is how every archive begins.
const magic = "PGDMP"

// The archive's own numbers: pg_backup.h (ArchiveFormat) and
// pg_backup_archiver.h (K_OFFSET_*).
const (
	formatCustom = 1

	offsetNotSet = 1
	offsetSet    = 2
	offsetNoData = 3
)

// Read reads the head and the table of contents of a custom-format archive and
// leaves the data that may follow them unread (some of it may have been
// buffered). It takes the bytes as they arrive and allocates nothing for a
// length that the archive only claims.
//
// An archive that is damaged is a *pgerror.Error XX001, one that exceeds limits
// 54000, one in a format that is too old or too new 0A000. Each says at which
// byte and in which entry.
func Read(r io.Reader, limits Limits) (*Archive, error) {
	d := newDecoder(r, limits.withDefaults())
	archive := new(Archive)
	offsetSize, err := d.head(archive)
	if err != nil {
		return nil, fmt.Errorf("read archive: head: %w", err)
	}
	count := d.int()
	switch {
	case d.err != nil:
	case count < 0:
		d.fail(dataCorrupted, "%d entries in the table of contents", count)
	case count > d.limits.MaxEntries:
		d.fail(programLimitExceeded, "%d entries in the table of contents are more than the limit of %d", count, d.limits.MaxEntries)
	}
	if d.err != nil {
		return nil, fmt.Errorf("read archive: number of entries: %w", d.err)
	}
	archive.Entries = make([]Entry, 0, min(count, 1024))
	var dependencies []int
	for i := range count {
		var entry Entry
		dependencies = d.entry(&entry, archive.Format, offsetSize, dependencies[:0])
		if d.err != nil {
			return nil, fmt.Errorf("read archive: entry %d of %d%s: %w", i+1, count, called(entry), d.err)
		}
		archive.Entries = append(archive.Entries, entry)
	}
	return archive, nil
}

// called names an entry as far as it was read.
func called(e Entry) string {
	if e.Kind == "" {
		return ""
	}
	return fmt.Sprintf(" (%s %q)", e.Kind, e.Tag)
}

// head reads what stands before the table of contents and gives the size of a
// file offset.
func (d *decoder) head(archive *Archive) (offsetSize int, err error) {
	if d.fill(d.scratch[:len(magic)]) && string(d.scratch[:len(magic)]) != magic {
		begins := string(d.scratch[:len(magic)])
		d.offset = 0
		d.fail(dataCorrupted, "not a pg_dump archive: it begins with %q instead of %q", begins, magic)
	}
	archive.Format = Version{Major: int(d.byte()), Minor: int(d.byte()), Revision: int(d.byte())}
	if err := d.checkVersion(archive.Format); err != nil {
		return 0, err
	}
	d.intSize = int(d.byte())
	if d.err == nil && (d.intSize < 1 || d.intSize > 8) {
		size := d.intSize
		d.intSize = 0
		d.fail(dataCorrupted, "integers of %d bytes", size)
	}
	offsetSize = int(d.byte())
	if d.err == nil && (offsetSize < 1 || offsetSize > 32) {
		d.fail(dataCorrupted, "file offsets of %d bytes", offsetSize)
	}
	if format := d.byte(); d.err == nil && format != formatCustom {
		d.fail(pgerror.FeatureNotSupported, "archive has format %d, not %d (custom)", format, formatCustom)
	}
	if archive.Format.atLeast(Version{Major: 1, Minor: 15}) {
		d.byte() // compression algorithm, of data alone
	} else {
		d.int() // compression level
	}
	archive.Created = d.created()
	archive.Database = d.string()
	archive.ServerVersion = d.string()
	archive.DumpVersion = d.string()
	return offsetSize, d.err
}

func (d *decoder) checkVersion(v Version) error {
	switch {
	case d.err != nil:
	case v.Major != newestFormat.Major || !newestFormat.atLeast(v):
		d.fail(pgerror.FeatureNotSupported, "archive has format %s; this version of pgdrover reads %d.%d to %d.%d",
			v, oldestFormat.Major, oldestFormat.Minor, newestFormat.Major, newestFormat.Minor)
		return hint(d.err, "use pg_dump 18 or older ([replication] pg_dump_path in pgdog.toml), or a newer pgdrover")
	case !v.atLeast(oldestFormat):
		d.fail(pgerror.FeatureNotSupported, "archive has format %s, which is older than %d.%d",
			v, oldestFormat.Major, oldestFormat.Minor)
		return hint(d.err, "use pg_dump 10 or newer ([replication] pg_dump_path in pgdog.toml)")
	}
	return d.err
}

func hint(err error, text string) error {
	return pgerror.From(err).WithHint("%s", text)
}

// created reads the broken-down local time at which the archive was written.
func (d *decoder) created() time.Time {
	second, minute, hour := d.int(), d.int(), d.int()
	day, month, year := d.int(), d.int(), d.int()
	d.int() // tm_isdst: the local zone knows
	if d.err != nil {
		return time.Time{}
	}
	return time.Date(year+1900, time.Month(month+1), day, hour, minute, second, 0, time.Local)
}

// entry reads one entry of the table of contents. dependencies is space that
// is reused from entry to entry.
func (d *decoder) entry(e *Entry, version Version, offsetSize int, dependencies []int) []int {
	if e.DumpID = d.int(); d.err == nil && e.DumpID <= 0 {
		d.fail(dataCorrupted, "dump ID %d", e.DumpID)
	}
	e.HasData = d.int() != 0
	e.TableOID = d.oid()
	e.OID = d.oid()
	e.Tag = d.string()
	e.Kind = Kind(d.name())
	e.Section = Section(d.int())
	e.Definition = d.string()
	e.Drop = d.string()
	e.Copy = d.string()
	e.Namespace = d.name()
	e.Tablespace = d.name()
	if version.atLeast(Version{Major: 1, Minor: 14}) {
		e.AccessMethod = d.name()
	}
	if version.atLeast(Version{Major: 1, Minor: 16}) {
		e.Relkind = d.relkind()
	}
	e.Owner = d.name()
	e.WithOIDs = d.name() == "true"
	dependencies = d.dumpIDs(dependencies)
	e.Dependencies = slices.Clone(dependencies)
	if len(dependencies) == 0 {
		e.Dependencies = nil
	}
	d.dataOffset(offsetSize)
	if d.err == nil && e.Kind == "" {
		d.fail(dataCorrupted, "entry without a kind")
	}
	return dependencies
}

func (d *decoder) relkind() byte {
	relkind := d.int()
	if relkind < 0 || relkind > 255 {
		d.fail(dataCorrupted, "relkind %d", relkind)
	}
	return byte(relkind)
}

// dataOffset skips where the custom format keeps an entry's data.
func (d *decoder) dataOffset(size int) {
	switch state := d.byte(); {
	case d.err != nil:
	case state != offsetNotSet && state != offsetSet && state != offsetNoData:
		d.fail(dataCorrupted, "data offset of unknown state %d", state)
	default:
		d.skip(size)
	}
}
