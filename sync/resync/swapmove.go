package resync

import (
	"context"
	"fmt"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// The steps of a swap that put one table into the place of another. Moving into
// another schema takes indexes, constraints, the row type and the sequences of
// identity columns along, each under its own name.

// detach takes the old table out of its parents' hands, and the new one out of the
// partitioned table beside.
func (w *swapping) detach(ctx context.Context) error {
	for _, u := range w.units {
		if !u.partition {
			continue
		}
		for _, l := range w.levels {
			if l.name == u.parents[0] {
				if err := w.exec(ctx, "ALTER TABLE "+quote(w.moved(l.name))+" DETACH PARTITION "+quote(w.moved(u.name))); err != nil {
					return err
				}
			}
		}
		if err := w.exec(ctx, "ALTER TABLE "+quote(u.parents[0])+" DETACH PARTITION "+quote(u.name)); err != nil {
			return err
		}
		// Foreign keys that it had from its parent have become its own.
		own, err := ownKeys(ctx, w.tx, u.oid)
		if err != nil {
			return err
		}
		for _, k := range own {
			if err := w.exec(ctx, dropKey(k.Table, k.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *swapping) moveOld(ctx context.Context) error {
	n := note{Mirror: w.mirror, Schema: w.table.name.Schema, Table: w.table.name.Name}
	if err := makeSchema(ctx, w.tx, w.wait, w.old, n); err != nil {
		return err
	}
	for _, s := range w.serials {
		if err := w.exec(ctx, "ALTER SEQUENCE "+s.sequence+" OWNED BY NONE"); err != nil {
			return err
		}
	}
	return w.move(ctx, func(n catalog.Name) (catalog.Name, string) { return n, w.old })
}

func (w *swapping) moveNew(ctx context.Context) error {
	return w.move(ctx, func(n catalog.Name) (catalog.Name, string) { return w.moved(n), n.Schema })
}

// move sets the schema of every unit and of its statistics.
func (w *swapping) move(ctx context.Context, where func(catalog.Name) (from catalog.Name, to string)) error {
	for _, u := range w.units {
		from, to := where(u.name)
		word := "TABLE "
		if u.kind == 'm' {
			word = "MATERIALIZED VIEW "
		}
		if err := w.exec(ctx, "ALTER "+word+quote(from)+" SET SCHEMA "+dump.QuoteIdent(to)); err != nil {
			return err
		}
		for _, name := range u.stats {
			from, to := where(name)
			if err := w.exec(ctx, "ALTER STATISTICS "+quote(from)+" SET SCHEMA "+dump.QuoteIdent(to)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sequences gives the new table the serial columns' sequences, and the sequences of
// its identity columns their values. Nobody draws from the old ones any more: they
// are locked since they were moved.
func (w *swapping) sequences(ctx context.Context) error {
	for _, s := range w.serials {
		if err := w.exec(ctx, "ALTER SEQUENCE "+s.sequence+" OWNED BY "+quote(s.table)+"."+s.column); err != nil {
			return err
		}
	}
	for old, shadow := range w.shadows {
		rows, err := w.tx.Query(ctx, `
SELECT format('SELECT setval(%s::regclass, last_value, is_called) FROM %s', n.objid, o.objid::regclass)
FROM pg_depend o JOIN pg_sequence s ON s.seqrelid = o.objid JOIN pg_attribute oa ON oa.attrelid = $1 AND oa.attnum = o.refobjsubid
JOIN pg_attribute na ON na.attrelid = $2 AND na.attname = oa.attname
JOIN pg_depend n ON n.classid = o.classid AND n.refclassid = o.classid AND n.refobjid = $2 AND n.refobjsubid = na.attnum AND n.deptype = 'i'
JOIN pg_sequence t ON t.seqrelid = n.objid
WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass AND o.refobjid = $1 AND o.deptype = 'i'`, old, shadow)
		if err != nil {
			return err
		}
		statements, err := collectText(rows)
		if err != nil {
			return err
		}
		if err := w.exec(ctx, statements...); err != nil {
			return err
		}
	}
	return nil
}

// attach puts the new table where the old one was in a hierarchy.
func (w *swapping) attach(ctx context.Context) error {
	for _, u := range w.units {
		for _, parent := range u.parents {
			sql := "ALTER TABLE " + quote(parent) + " ATTACH PARTITION " + quote(u.name) + " " + u.bound
			if !u.partition {
				sql = "ALTER TABLE " + quote(u.name) + " INHERIT " + quote(parent)
			}
			if err := w.exec(ctx, sql); err != nil {
				return err
			}
		}
		switch {
		case u.partition && u.implied != "":
			if err := w.exec(ctx, "ALTER TABLE "+quote(u.name)+" DROP CONSTRAINT "+boundCheck); err != nil {
				return err
			}
		case !u.partition:
			for _, parent := range u.parents {
				if err := w.exec(ctx, "ALTER TABLE "+quote(u.name)+" NO INHERIT "+quote(w.moved(parent))); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// addKeys makes the foreign keys anew, all NOT VALID: PutBack validates them. One of
// a partitioned table cannot be NOT VALID, and is left to PutBack altogether.
func (w *swapping) addKeys(ctx context.Context) error {
	for _, k := range w.result.Keys {
		if len(k.Parts) > 0 {
			continue
		}
		if err := w.addKeyNotValid(ctx, k); err != nil {
			return err
		}
	}
	for _, k := range w.own {
		if err := w.addKeyNotValid(ctx, k); err != nil {
			return err
		}
		w.result.Keys = append(w.result.Keys, k)
	}
	return nil
}

func (w *swapping) addKeyNotValid(ctx context.Context, k ForeignKey) error {
	if err := record(ctx, w.tx, w.mirror, k, keyAdded); err != nil {
		return err
	}
	if err := w.exec(ctx, addKey(k.Table, k.Name, k.Definition, true)); err != nil {
		return err
	}
	if k.Comment == "" {
		return nil
	}
	return w.exec(ctx, commentOnKey(k.Table, k.Name, k.Comment))
}

// rebind has everything that depends on the old table depend on the new one.
func (w *swapping) rebind(ctx context.Context) error {
	for _, d := range w.depending.carried {
		if err := w.exec(ctx, d.SQL); err != nil {
			return fmt.Errorf("bind %s %s: %w", d.Kind, d.Name, err)
		}
	}
	// Never without a parent: what is inherited would be marked as its own.
	rows, err := w.tx.Query(ctx, `
SELECT format('ALTER TABLE %s NO INHERIT %s', i.inhrelid::regclass, i.inhparent::regclass) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind IN ('r', 'f')
WHERE i.inhparent = ANY ($1::oid[])`, w.oids())
	if err != nil {
		return err
	}
	statements, err := collectText(rows)
	if err != nil {
		return err
	}
	return w.exec(ctx, statements...)
}

// finish does what waits until the table stands in its place.
func (w *swapping) finish(ctx context.Context) error {
	for _, u := range w.units {
		rows, err := w.tx.Query(ctx, `SELECT format('ALTER PUBLICATION %I DROP TABLE ONLY %s', p.pubname, r.prrelid::regclass)
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = $1`, u.oid)
		if err != nil {
			return err
		}
		statements, err := collectText(rows)
		if err != nil {
			return err
		}
		if err := w.exec(ctx, statements...); err != nil {
			return err
		}
	}
	return w.exec(ctx, w.present...)
}

// check makes sure that nothing is left behind, and that the new table is what the
// old one was.
func (w *swapping) check(ctx context.Context) error {
	left, err := readDependants(ctx, w.tx, w.oids())
	if err != nil {
		return err
	}
	reasons := left.refused
	for _, d := range left.carried {
		reasons = append(reasons, fmt.Sprintf("%s %s still depends on the old table", d.Kind, d.Name))
	}
	for _, u := range w.units {
		after, err := readFacts(ctx, w.tx, w.shadows[u.oid])
		if err != nil {
			return err
		}
		for _, d := range compareFacts(w.before[u.oid], after) {
			if d.Kind != "referenced by" { // see addKeys
				reasons = append(reasons, d.String())
			}
		}
	}
	if len(reasons) > 0 {
		return w.refuse(reasons)
	}
	return nil
}
