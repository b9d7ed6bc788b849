package mirror

import (
	"context"
	"slices"

	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/ddl"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// Plan tells where in a transaction the schema changes. It implements
// apply.Steps.
func (f *schemaFollower) Plan(ctx context.Context, tx *stream.Transaction, fresh []*stream.Relation) ([]apply.Part, error) {
	if tx.Mark() {
		return f.planMark(ctx, tx)
	}
	if tx.Messages > 0 {
		parts, err := f.planEvents(tx)
		if parts != nil || err != nil {
			return parts, err
		}
	}
	return f.planShapes(ctx, tx, fresh)
}

// planMark finds what a poll has read at a mark.
func (f *schemaFollower) planMark(ctx context.Context, tx *stream.Transaction) ([]apply.Part, error) {
	for i := range tx.Changes {
		m := tx.Changes[i].Logical
		if tx.Changes[i].Kind != stream.Message || m.Prefix != ddl.FencePrefix {
			continue
		}
		poll, err := f.polls.at(ctx, m.LSN)
		if err != nil || poll == nil {
			return nil, err
		}
		return []apply.Part{{Step: &schemaStep{f: f, final: tx.EndLSN, poll: poll}}}, nil
	}
	return nil, nil
}

// planEvents finds the events of a transaction. It is divided where rows come
// before an event that may be about their tables; what decides is the content of
// the transaction alone, so that it is divided in the same way every time.
func (f *schemaFollower) planEvents(tx *stream.Transaction) ([]apply.Part, error) {
	d := division{rows: map[uint32]bool{}}
	err := tx.Each(func(c *stream.Change) error {
		d.change(f, c)
		return nil
	})
	if err != nil || !d.events {
		return nil, err
	}
	inPart := apply.Between(f.from) && tx.FinalLSN < f.from && f.from < tx.EndLSN // was applied by an earlier run
	if !inPart && !f.concerns(tx, d.steps()) {
		return nil, nil
	}
	parts := d.end(f, tx)
	if len(parts) > apply.MostParts(tx) {
		// All at once, and whatever was written meanwhile is copied.
		all := &schemaStep{f: f, final: tx.FinalLSN, end: true, again: true}
		for _, s := range d.steps() {
			all.events = append(all.events, s.events...)
		}
		return []apply.Part{{Step: all}, {From: 0, To: d.at}}, nil
	}
	return parts, nil
}

// division finds where a transaction is divided.
type division struct {
	parts  []apply.Part
	step   *schemaStep     // what comes before the changes from cut on
	cut    int             // changes before it are in parts
	at     int             // changes seen
	rows   map[uint32]bool // relations of the changes since cut
	events bool
}

func (d *division) change(f *schemaFollower, c *stream.Change) {
	d.at++
	switch c.Kind {
	case stream.Truncate:
		for _, r := range c.Truncated.Relations {
			d.rows[r.OID] = true
		}
		return
	case stream.Insert, stream.Update, stream.Delete:
		d.rows[c.Relation.OID] = true
		return
	}
	if c.Logical.Prefix != ddl.Prefix {
		return
	}
	event, err := ddl.Decode(c.Logical.Content)
	if err != nil {
		f.source.job.manager.log.Warn("a message about a schema change cannot be read; the catalogs are polled", "shard", f.source.number, "lsn", c.Logical.LSN.String(), "error", err)
		event = ddl.Event{Kind: ddl.UnknownEvent}
	}
	d.events = true
	if touches(&event, d.rows) {
		d.flush()
		d.parts = append(d.parts, apply.Part{From: d.cut, To: d.at - 1})
		d.cut = d.at - 1
		clear(d.rows)
	}
	if d.step == nil {
		d.step = &schemaStep{f: f}
	}
	d.step.events = append(d.step.events, event)
}

func (d *division) flush() {
	if d.step != nil {
		d.parts = append(d.parts, apply.Part{Step: d.step})
		d.step = nil
	}
}

func (d *division) steps() []*schemaStep {
	var out []*schemaStep
	for _, p := range d.parts {
		if p.Step != nil {
			out = append(out, p.Step.(*schemaStep))
		}
	}
	if d.step != nil {
		out = append(out, d.step)
	}
	return out
}

func (d *division) end(f *schemaFollower, tx *stream.Transaction) []apply.Part {
	steps := d.steps()
	for _, s := range steps {
		s.f, s.final = f, tx.FinalLSN
	}
	steps[len(steps)-1].end = true
	d.flush()
	if d.cut < d.at {
		d.parts = append(d.parts, apply.Part{From: d.cut, To: d.at})
	}
	return d.parts
}

// touches tells whether an event may be about one of some relations.
func touches(e *ddl.Event, rows map[uint32]bool) bool {
	if len(rows) == 0 {
		return false
	}
	switch e.Kind {
	case ddl.TableEvent, ddl.RewriteEvent:
		return rows[e.OID] || e.Relkind == "p" || e.After != nil && (e.After.Relkind == "p" || e.After.Partition != nil)
	case ddl.DropEvent:
		return slices.ContainsFunc(e.Dropped, func(d ddl.Dropped) bool {
			switch d.Type {
			case "table", "table column", "default value":
				return rows[d.OID]
			}
			return true
		})
	}
	return true
}

// concerns tells whether the events change anything that is followed; if not,
// they are noted. A rewrite that nobody can explain is told by its end.
func (f *schemaFollower) concerns(tx *stream.Transaction, steps []*schemaStep) bool {
	registry := f.registry.Clone()
	for _, s := range steps {
		for i := range s.events {
			e := s.events[i]
			if len(f.observe(registry, &e, tx.FinalLSN)) > 0 {
				return true
			}
		}
	}
	if len(registry.EndTransaction()) > 0 {
		return true
	}
	f.registry = registry
	return false
}

// observe notes an event, unless what it says is known from a later poll.
func (f *schemaFollower) observe(r *ddl.Registry, e *ddl.Event, final stream.LSN) []ddl.Change {
	if f.known(e.OID, final) {
		return nil
	}
	if catalog.OwnSchema(e.Name.Schema) {
		if e.Kind != ddl.TableEvent || r.Table(e.OID) == nil {
			return nil
		}
		// Another mirror, whose destination the source is, has put another table into its place.
		e = &ddl.Event{Kind: ddl.DropEvent, Tag: e.Tag, User: e.User, Dropped: []ddl.Dropped{{OID: e.OID, Type: "table", Names: []string{e.Name.Schema, e.Name.Name}}}}
	}
	return r.Observe(e)
}

// planShapes looks at relations that were not there before: rows of a form that
// nothing was told of wait for a poll.
func (f *schemaFollower) planShapes(ctx context.Context, tx *stream.Transaction, fresh []*stream.Relation) ([]apply.Part, error) {
	if f.polls == nil || tx.Messages > 0 {
		return nil, nil
	}
	var unknown []*stream.Relation
	for _, r := range fresh {
		if f.follows(r) && !f.fits(f.registry, r) {
			unknown = append(unknown, r)
		}
	}
	if len(unknown) == 0 {
		return nil, nil
	}
	used, count := map[*stream.Relation]bool{}, 0
	err := tx.Each(func(c *stream.Change) error {
		count++
		if c.Relation != nil {
			used[c.Relation] = true
		}
		return nil
	})
	unknown = slices.DeleteFunc(unknown, func(r *stream.Relation) bool { return !used[r] }) // taken back
	if err != nil || len(unknown) == 0 {
		return nil, err
	}
	poll, err := f.polls.now(ctx)
	if err != nil {
		return nil, err
	}
	step := &schemaStep{f: f, final: tx.FinalLSN, poll: poll, early: true, unknown: unknown}
	for r := range used { // two forms of one table: which changes came in between is not known
		for other := range used {
			if other != r && other.OID == r.OID {
				step.mixed = append(step.mixed, r.OID)
			}
		}
	}
	return []apply.Part{{Step: step}, {From: 0, To: count}}, nil
}

// fits tells whether rows that the stream describes so are those of the table as
// it is known, and are told apart in the same way.
func (f *schemaFollower) fits(registry *ddl.Registry, r *stream.Relation) bool {
	if !registry.Fits(r) {
		return false
	}
	d := registry.Table(r.OID)
	if r.Identity != 'd' && r.Identity != 'i' {
		return d.ReplicaIdentity == string(r.Identity)
	}
	var key []string
	for _, c := range r.Columns {
		if c.Key {
			key = append(key, c.Name)
		}
	}
	known := slices.Clone(d.IdentityColumns())
	slices.Sort(key)
	slices.Sort(known)
	return slices.Equal(key, known)
}

// follows tells whether the changes of a relation are applied.
func (f *schemaFollower) follows(r *stream.Relation) bool {
	if catalog.OwnSchema(r.Schema) {
		return false
	}
	_, row, ok := f.row(r.OID)
	if ok {
		_, ok = live(&row)
	}
	return ok
}
