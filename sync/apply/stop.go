package apply

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// stopped is a table of which nothing is applied from a transaction on.
type stopped struct {
	number int64 // counted from 1
	table  catalog.Name
	at     stream.LSN // FinalLSN of that transaction
}

// holds tells whether the changes of a target in a transaction are left out. A
// stop does not hold for a copy of the table made behind it, nor where Find
// was asked after it and knew better.
func holds(list []stopped, f *resolved, finalLSN stream.LSN) bool {
	for _, s := range list {
		if finalLSN >= s.at && f.target.From <= s.at && f.asked < s.number && f.target.sourceName() == s.table {
			return true
		}
	}
	return false
}

// stops are the tables that could not go on while Run was running. The list is
// replaced, never changed: a reader's stays the same for one transaction.
type stops struct {
	tables   Tables
	log      *slog.Logger
	observer *Observer
	mu       sync.Mutex
	list     atomic.Pointer[[]stopped]
	count    atomic.Int64
}

func (s *stops) snapshot() []stopped {
	if list := s.list.Load(); list != nil {
		return *list
	}
	return nil
}

// stop records a table's stop: durably first, and once if several shards find
// the same transaction to blame.
func (s *stops) stop(ctx context.Context, t *Target, failure *pgerror.Error, tx *stream.Transaction) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.snapshot(), func(o stopped) bool { return o.table == t.sourceName() && o.at == tx.FinalLSN }) {
		return nil
	}
	if err := s.tables.Stop(ctx, t.sourceName(), failure, tx.FinalLSN, tx.XID); err != nil {
		return fmt.Errorf("record that %s is stopped: %w", t, err)
	}
	list := append([]stopped(nil), s.snapshot()...)
	list = append(list, stopped{number: s.count.Load() + 1, table: t.sourceName(), at: tx.FinalLSN})
	s.list.Store(&list)
	s.count.Add(1)
	s.log.Error("a table is stopped", "table", t.String(), "lsn", tx.FinalLSN.String(), "error", failure.Message, "detail", failure.Detail, "hint", failure.Hint)
	if s.observer.TableStopped != nil {
		s.observer.TableStopped(t.sourceName(), failure)
	}
	return nil
}

// explain makes the error of a stopped table from what went wrong with a change.
func (a *Applier) explain(f *failure, t *Target) *pgerror.Error {
	out := &pgerror.Error{}
	c := f.op.entry.change
	switch {
	case f.err != nil:
		*out = *f.err
		out.Message = fmt.Sprintf("%s of %s cannot be applied: %s", verb(c), t, f.err.Message)
	case c != nil && c.Kind == stream.Insert:
		out.Code = "23505"
		out.Message = fmt.Sprintf("INSERT of %s cannot be applied: the row is there already", t)
	case f.got == 0:
		out.Code = "P0002" // no_data_found
		out.Message = fmt.Sprintf("%s of %s cannot be applied: the row is not there", verb(c), t)
	default:
		out.Code = "21000" // cardinality_violation
		out.Message = fmt.Sprintf("%s of %s cannot be applied: there are %d such rows", verb(c), t, f.got)
	}
	tx := f.op.entry.item.tx
	var detail []string
	if out.Detail != "" {
		detail = append(detail, out.Detail)
	}
	detail = append(detail, fmt.Sprintf("LSN %s, transaction %d, committed %s.", tx.FinalLSN, tx.XID, tx.CommitTime.UTC().Format(time.RFC3339Nano)))
	if c != nil {
		if key := t.describe(c); key != "" {
			detail = append(detail, "Row: "+key+".")
		}
	}
	out.Detail = strings.Join(detail, "\n")
	hint := fmt.Sprintf("RESYNC %s %s;", dump.QuoteIdent(a.options.Mirror), t.quotedSource())
	if out.Hint != "" {
		hint = out.Hint + "\n" + hint
	}
	out.Hint = hint
	return out
}

func verb(c *stream.Change) string {
	if c == nil {
		return "a transaction"
	}
	switch c.Kind {
	case stream.Insert:
		return "INSERT"
	case stream.Update:
		return "UPDATE"
	case stream.Delete:
		return "DELETE"
	}
	return "TRUNCATE"
}

// longestShown is how much of a value a message has, in characters.
const longestShown = 200

// describe gives the identity of a change's row: column = value.
func (t *Target) describe(c *stream.Change) string {
	tuple := c.Old
	if tuple == nil {
		tuple = c.New
	}
	var parts []string
	for i := range t.columns {
		if len(tuple) == 0 {
			break
		}
		format, value, rest := tuple.Next()
		tuple = rest
		if t.columns[i].skip || len(t.identity) > 0 && !t.columns[i].identity {
			continue
		}
		if len(parts) == 8 {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, t.columns[i].name+" = "+show(format, value, t.columns[i].element))
	}
	return strings.Join(parts, ", ")
}

func show(format stream.Format, value []byte, oid uint32) string {
	switch {
	case format == stream.Null:
		return "NULL"
	case format == stream.Unchanged:
		return "(unchanged)"
	case format == stream.Binary && (oid == int2OID || oid == int4OID || oid == int8OID) && len(value) > 0 && len(value) <= 8:
		n := int64(int8(value[0]))
		for _, b := range value[1:] {
			n = n<<8 | int64(b)
		}
		return fmt.Sprint(n)
	case format == stream.Binary && oid == uuidOID && len(value) == 16:
		return fmt.Sprintf("%x-%x-%x-%x-%x", value[:4], value[4:6], value[6:8], value[8:10], value[10:])
	}
	head := value[:min(len(value), longestShown*utf8.UTFMax)]
	if format == stream.Binary && oid != textOID && oid != varcharOID && oid != bpcharOID {
		return shorten(`\x` + hex.EncodeToString(head))
	}
	return shorten(strings.ToValidUTF8(string(head), "?"))
}

func shorten(s string) string {
	if utf8.RuneCountInString(s) <= longestShown {
		return s
	}
	return string([]rune(s)[:longestShown-1]) + "…"
}

// asUnroutable finds a row without shard in an error.
func asUnroutable(err error) (*unroutable, bool) {
	var u *unroutable
	ok := errors.As(err, &u)
	return u, ok
}
