package schema

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// entry makes an entry of a dump.
func entry(id int, kind dump.Kind, namespace, tag, definition string, dependencies ...int) dump.Entry {
	return dump.Entry{DumpID: id, OID: uint32(1000 + id), Kind: kind, Namespace: namespace, Tag: tag, Definition: definition, Owner: "admin", Dependencies: dependencies}
}

// shop is a small source: a table with what belongs to it.
func shop() *Source {
	s := &Source{
		Server: config.Server{Cluster: "prod", Database: "prod"},
		Archive: &dump.Archive{Entries: []dump.Entry{
			entry(1, dump.KindSchema, "", "shop", "CREATE SCHEMA shop;\n"),
			entry(2, dump.KindTable, "shop", "orders", "CREATE TABLE shop.orders (\n    id bigint\n);\n", 1),
			entry(3, dump.KindTable, "shop", "lines", "CREATE TABLE shop.lines (\n    id bigint\n);\n", 1),
			entry(4, dump.KindConstraint, "shop", "orders orders_pkey", "ALTER TABLE ONLY shop.orders\n    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);\n", 2),
			entry(5, dump.KindIndex, "shop", "orders_made", "CREATE INDEX orders_made ON shop.orders USING btree (id);\n\nALTER TABLE shop.orders CLUSTER ON orders_made;\n", 2),
			entry(6, dump.KindForeignKey, "shop", "lines lines_order_fkey", "ALTER TABLE ONLY shop.lines\n    ADD CONSTRAINT lines_order_fkey FOREIGN KEY (id) REFERENCES shop.orders(id);\n", 4, 3),
			entry(7, dump.KindComment, "shop", "INDEX orders_made", "COMMENT ON INDEX shop.orders_made IS 'x';\n", 5),
			entry(8, dump.KindPublication, "", "all_tables", "CREATE PUBLICATION all_tables FOR ALL TABLES;\n"),
		}},
		Constraints: map[uint32]catalog.Constraint{
			1004: {OID: 1004, Type: 'p', Table: catalog.Name{Schema: "shop", Name: "orders"}, Relkind: 'r', Name: "orders_pkey", Index: 1, Validated: true},
			1006: {OID: 1006, Type: 'f', Table: catalog.Name{Schema: "shop", Name: "lines"}, Relkind: 'r', Name: "lines_order_fkey", Validated: true,
				References: catalog.Name{Schema: "shop", Name: "orders"}},
		},
		Indexes: map[uint32]catalog.Index{
			1005: {OID: 1005, Index: catalog.Name{Schema: "shop", Name: "orders_made"}, Table: catalog.Name{Schema: "shop", Name: "orders"}, Relkind: 'r', Valid: true, Clustered: true},
		},
		IndexSQL: map[uint32]string{1005: "CREATE INDEX orders_made ON shop.orders USING btree (id)"},
	}
	return s
}

// shard is a destination that holds copies of entries, in another order and
// under other dump ids, as a dump of it would.
func shard(entries ...dump.Entry) *Destination {
	d := &Destination{Server: config.Server{Cluster: "prod_new"}, Shards: 1, Facts: catalog.Server{User: "admin"}, Archive: &dump.Archive{}}
	for i, e := range entries {
		e.DumpID, e.OID, e.Dependencies = 500-i, uint32(9000+i), nil
		d.Archive.Entries = append(d.Archive.Entries, e)
	}
	slices.Reverse(d.Archive.Entries)
	return d
}

// filled gives a shard rows in every table of the shop.
func filled(d *Destination) *Destination {
	d.Sizes = map[catalog.Name]catalog.Size{{Schema: "shop", Name: "orders"}: {Bytes: 1 << 20}, {Schema: "shop", Name: "lines"}: {Bytes: 1 << 20}}
	return d
}

// planned builds a phase and describes its statements, a line each.
func planned(t *testing.T, s *Source, d *Destination, opts PlanOptions) []string {
	t.Helper()
	plan, err := Build(s, d, opts)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, st := range plan.Statements {
		if st.Ordinal != i+1 {
			t.Errorf("statement %d has ordinal %d", i+1, st.Ordinal)
		}
		for _, r := range st.Requires {
			if r >= st.Ordinal {
				t.Errorf("%s %s requires %d, which does not come before it", st.Kind, st.Object, r)
			}
		}
		word := string(st.Outcome)
		if word == "" {
			word = strings.Join(strings.Fields(st.SQL), " ")
		}
		out = append(out, fmt.Sprintf("%s %s: %s", st.Kind, st.Object, word))
	}
	return out
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the plan is not as it should be (-want +got):\n%s", diff)
	}
}

func entriesOf(s *Source, ids ...int) []dump.Entry {
	var out []dump.Entry
	for _, e := range s.Archive.Entries {
		if slices.Contains(ids, e.DumpID) {
			out = append(out, e)
		}
	}
	return out
}

func TestBuildOnAnEmptyShard(t *testing.T) {
	t.Parallel()
	expect(t, planned(t, shop(), shard(), PlanOptions{Phase: dump.PreData}),
		"SCHEMA shop: CREATE SCHEMA shop;",
		"TABLE orders: CREATE TABLE shop.orders ( id bigint );",
		"TABLE lines: CREATE TABLE shop.lines ( id bigint );",
		"CONSTRAINT orders orders_pkey: ALTER TABLE ONLY shop.orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id);",
		"PUBLICATION all_tables: CREATE PUBLICATION all_tables FOR ALL TABLES;")
	expect(t, planned(t, shop(), shard(entriesOf(shop(), 1, 2, 3, 4, 8)...), PlanOptions{Phase: dump.PostData}),
		"INDEX orders_made: CREATE INDEX orders_made ON shop.orders USING btree (id); ALTER TABLE shop.orders CLUSTER ON orders_made;",
		"FK CONSTRAINT lines lines_order_fkey: ALTER TABLE ONLY shop.lines ADD CONSTRAINT lines_order_fkey FOREIGN KEY (id) REFERENCES shop.orders(id);",
		"COMMENT INDEX orders_made: COMMENT ON INDEX shop.orders_made IS 'x';")
}

func TestBuildFindsWhatIsThere(t *testing.T) {
	t.Parallel()
	s := shop()
	all := shard(s.Archive.Entries...)
	for _, phase := range []dump.Phase{dump.PreData, dump.PostData, dump.Cutover} {
		for _, line := range planned(t, s, all, PlanOptions{Phase: phase}) {
			if !strings.HasSuffix(line, ": existed") {
				t.Errorf("%s: %s", phase, line)
			}
		}
	}
}

func TestBuildReportsDrift(t *testing.T) {
	t.Parallel()
	s := shop()
	there := slices.Clone(s.Archive.Entries)
	there[1].Definition = "CREATE TABLE shop.orders (\n    id integer\n);\n"
	plan, err := Build(s, shard(there...), PlanOptions{Phase: dump.PreData})
	if err != nil {
		t.Fatal(err)
	}
	drifted := plan.Drift()
	if len(drifted) != 1 || drifted[0].Object != "orders" || drifted[0].Outcome != Differs {
		t.Fatalf("drift is %v", drifted)
	}
	e := drifted[0].Err
	if e.Code != pgerror.DuplicateObject || !strings.Contains(e.Detail, "id bigint") || !strings.Contains(e.Detail, "id integer") || !strings.Contains(e.Hint, `SHOW SCHEMA_DIFF "prod" "prod_new";`) {
		t.Errorf("the error does not tell both sides and the way out: %q %q %q", e.Message, e.Detail, e.Hint)
	}
}

func TestBuildOnRows(t *testing.T) {
	t.Parallel()
	s := shop()
	d := filled(shard(entriesOf(s, 1, 2, 3, 4, 8)...))
	expect(t, planned(t, s, d, PlanOptions{Phase: dump.PostData, Concurrently: "auto"}),
		"INDEX orders_made: CREATE INDEX orders_made ON shop.orders USING btree (id);",
		"INDEX orders_made: ALTER TABLE shop.orders CLUSTER ON orders_made;",
		"FK CONSTRAINT lines lines_order_fkey: ALTER TABLE ONLY shop.lines ADD CONSTRAINT lines_order_fkey FOREIGN KEY (id) REFERENCES shop.orders(id) NOT VALID;",
		"COMMENT INDEX orders_made: COMMENT ON INDEX shop.orders_made IS 'x';",
		`VALIDATE lines lines_order_fkey: ALTER TABLE "shop"."lines" VALIDATE CONSTRAINT "lines_order_fkey";`,
		`ANALYZE orders: ANALYZE "shop"."orders";`,
		`ANALYZE lines: ANALYZE "shop"."lines";`)
	plan, err := Build(s, d, PlanOptions{Phase: dump.PostData, Concurrently: "always"})
	if err != nil {
		t.Fatal(err)
	}
	if first := plan.Statements[0]; first.SQL != "CREATE INDEX CONCURRENTLY orders_made ON shop.orders USING btree (id);" || !first.NoTransaction || first.Lock != ShareUpdateExclusive {
		t.Errorf("the index is built by %q, under %s, outside a transaction: %t", first.SQL, first.Lock, first.NoTransaction)
	}
}

// TestBuildGoesOnAfterAKill plans shards on which an earlier run was killed
// between the steps made from one entry.
func TestBuildGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	s := shop()
	before := entriesOf(s, 1, 2, 3, 4, 8)
	rest := []string{"COMMENT INDEX orders_made: COMMENT ON INDEX shop.orders_made IS 'x';"}
	t.Run("index built, not clustered on", func(t *testing.T) {
		t.Parallel()
		index := entriesOf(s, 5)[0]
		index.Definition = "CREATE INDEX orders_made ON shop.orders USING btree (id);\n\n\n"
		d := filled(shard(append(slices.Clone(before), index, entriesOf(s, 6)[0])...))
		got := planned(t, s, d, PlanOptions{Phase: dump.PostData})
		expect(t, got[:3], append([]string{
			"INDEX orders_made: ALTER TABLE shop.orders CLUSTER ON orders_made;",
			"FK CONSTRAINT lines lines_order_fkey: existed",
		}, rest...)...)
	})
	t.Run("foreign key not validated", func(t *testing.T) {
		t.Parallel()
		key := entriesOf(s, 6)[0]
		key.Definition = strings.Replace(key.Definition, ";", " NOT VALID;", 1)
		d := filled(shard(append(slices.Clone(before), key, entriesOf(s, 5)[0])...))
		expect(t, planned(t, s, d, PlanOptions{Phase: dump.PostData})[:4],
			"INDEX orders_made: existed",
			"FK CONSTRAINT lines lines_order_fkey: existed",
			rest[0],
			`VALIDATE lines lines_order_fkey: ALTER TABLE "shop"."lines" VALIDATE CONSTRAINT "lines_order_fkey";`)
		// What POST did not get to, CUTOVER does.
		expect(t, planned(t, s, d, PlanOptions{Phase: dump.Cutover}),
			`VALIDATE lines lines_order_fkey: ALTER TABLE "shop"."lines" VALIDATE CONSTRAINT "lines_order_fkey";`)
	})
	t.Run("invalid index left", func(t *testing.T) {
		t.Parallel()
		d := filled(shard(append(slices.Clone(before), entriesOf(s, 6)[0])...))
		d.Indexes = map[uint32]catalog.Index{77: {Index: catalog.Name{Schema: "shop", Name: "orders_made"}, Table: catalog.Name{Schema: "shop", Name: "orders"}, Relkind: 'r'}}
		expect(t, planned(t, s, d, PlanOptions{Phase: dump.PostData})[:3],
			`DROP INVALID INDEX orders_made: DROP INDEX CONCURRENTLY IF EXISTS "shop"."orders_made";`,
			"INDEX orders_made: CREATE INDEX orders_made ON shop.orders USING btree (id);",
			"INDEX orders_made: ALTER TABLE shop.orders CLUSTER ON orders_made;")
	})
}

// TestBuildTakesOverTheSchemaPublic checks that what initdb made is replaced
// and not taken for drift.
func TestBuildTakesOverTheSchemaPublic(t *testing.T) {
	t.Parallel()
	s := &Source{Archive: &dump.Archive{Entries: []dump.Entry{
		entry(1, dump.KindSchema, "", "public", "-- *not* creating schema, since initdb creates it\n"),
		entry(2, dump.KindComment, "", "SCHEMA public", "COMMENT ON SCHEMA public IS 'ours';\n", 1),
	}}}
	s.Archive.Entries[0].Owner, s.Archive.Entries[0].Drop = "Weird \"Owner\"", "-- *not* dropping schema, since initdb creates it\n"
	d := shard(s.Archive.Entries...)
	for i := range d.Archive.Entries {
		e := &d.Archive.Entries[i]
		e.Owner = "pg_database_owner"
		if e.Kind == dump.KindComment {
			e.Definition = "COMMENT ON SCHEMA public IS 'standard public schema';\n"
		}
	}
	expect(t, planned(t, s, d, PlanOptions{Phase: dump.PreData}),
		`SCHEMA public: -- *not* creating schema, since initdb creates it ALTER SCHEMA "public" OWNER TO "Weird ""Owner""";`,
		"COMMENT SCHEMA public: COMMENT ON SCHEMA public IS 'ours';")
}

func TestPhasesFollowDependencies(t *testing.T) {
	t.Parallel()
	s := shop()
	// A view that needs an index's comment, declared before it in the archive.
	s.Archive.Entries = append([]dump.Entry{entry(20, dump.KindView, "shop", "late", "CREATE VIEW shop.late AS SELECT 1;\n", 21)}, s.Archive.Entries...)
	s.Archive.Entries = append(s.Archive.Entries, entry(21, dump.KindView, "shop", "between", "CREATE VIEW shop.between AS SELECT 1;\n", 7, 4711))
	s.Archive.Entries = append(s.Archive.Entries, entry(22, dump.KindTrigger, "shop", "orders always", "CREATE TRIGGER always …;\n", 2))
	s.Archive.Entries = append(s.Archive.Entries, entry(23, dump.KindComment, "shop", "TRIGGER always", "COMMENT …;\n", 22))
	s.Firing = map[uint32]catalog.Fires{1022: catalog.FiresAlways}
	phases, err := s.Phases(false)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int]dump.Phase{
		1: dump.PreData, 2: dump.PreData, 4: dump.PreData, 5: dump.PostData, 6: dump.PostData, 7: dump.PostData, 8: dump.PreData,
		20: dump.PostData, 21: dump.PostData, 22: dump.Cutover, 23: dump.Cutover,
	} {
		if phases[id] != want {
			t.Errorf("entry %d is of phase %s, want %s", id, phases[id], want)
		}
	}
	index := s.Indexes[1005]
	index.ReplicaIdentity = true
	s.Indexes[1005] = index
	if phases, err = s.Phases(false); err != nil || phases[5] != dump.PreData {
		t.Errorf("the index that identifies rows is of phase %s (%v)", phases[5], err)
	}
}

func TestPhasesRefuseAnUnknownKind(t *testing.T) {
	t.Parallel()
	s := shop()
	s.Archive.Entries = append(s.Archive.Entries, entry(30, "PROPERTY GRAPH", "shop", "g", "CREATE PROPERTY GRAPH g;\n"))
	_, err := s.Phases(false)
	if pgerror.Code(err) != pgerror.FeatureNotSupported || !strings.Contains(err.Error(), "PROPERTY GRAPH") {
		t.Errorf("the error is %v", err)
	}
	if _, err := Build(s, shard(), PlanOptions{Phase: dump.PostCutover}); err == nil {
		t.Error("a plan is made without the unknown kind")
	}
}

func TestPublishedScope(t *testing.T) {
	t.Parallel()
	s := &Source{
		Publication: catalog.Publication{Name: "some", Tables: []catalog.PublishedTable{
			{Table: catalog.Name{Schema: "s", Name: "lines"}}, {Table: catalog.Name{Schema: "s", Name: "root"}}}},
		Archive: &dump.Archive{Entries: []dump.Entry{
			entry(1, dump.KindSchema, "", "s", ""),
			entry(2, dump.KindSchema, "", "unrelated", ""),
			entry(3, dump.KindType, "s", "colour", "", 1),
			entry(4, dump.KindTable, "s", "lines", "", 1, 3),
			entry(5, dump.KindTable, "s", "orders", "", 1),
			entry(6, dump.KindTable, "unrelated", "lines", "", 2),
			entry(7, dump.KindTable, "s", "root", "", 1),
			entry(8, dump.KindTable, "s", "part", "", 1),
			entry(9, dump.KindTableAttach, "s", "part", "", 7, 8),
			entry(10, dump.KindIndex, "s", "lines_i", "", 4),
			entry(11, dump.KindComment, "s", "INDEX lines_i", "", 10),
			entry(12, dump.KindForeignKey, "s", "lines lines_orders", "", 4, 5),
			entry(13, dump.KindFunction, "s", "f()", "", 1),
			entry(14, dump.KindTrigger, "s", "lines t", "", 4, 13),
			entry(15, dump.KindView, "s", "v", "", 4),
			entry(16, dump.KindPublication, "", "some", ""),
			entry(17, dump.KindPublication, "", "other", ""),
			entry(18, dump.KindPublicationTable, "s", "some lines", "", 4, 16),
			entry(19, dump.KindPublicationTable, "s", "other lines", "", 4, 17),
			entry(20, dump.KindIndex, "s", "orders_i", "", 5),
		}},
	}
	byID := map[int]*dump.Entry{}
	for i := range s.Archive.Entries {
		byID[s.Archive.Entries[i].DumpID] = &s.Archive.Entries[i]
	}
	scope, left := s.published(byID)
	var got []int
	for id := range scope {
		got = append(got, id)
	}
	slices.Sort(got)
	// The table, its schema and type; the partitioned root with its partition;
	// what lies on them, with the function that a trigger calls; not the view.
	if want := []int{1, 3, 4, 7, 8, 9, 10, 11, 13, 14, 16, 18}; !slices.Equal(got, want) {
		t.Errorf("the scope is %v, want %v", got, want)
	}
	want := []string{
		`FK CONSTRAINT "lines lines_orders" in schema "s" (needs TABLE "orders" in schema "s")`,
		`PUBLICATION TABLE "other lines" in schema "s" (needs PUBLICATION "other")`,
	}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}

// TestEmptyScopeIsNoPass takes away what scope = "publication" would compare:
// finding nothing different then would be a pass of a check that never ran.
func TestEmptyScopeIsNoPass(t *testing.T) {
	for name, published := range map[string]catalog.Publication{
		"never synced":        {},
		"publication is gone": {Name: "all_tables"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop()
			s.Publication = published
			d := &Destination{Server: config.Server{Cluster: "prod_new"}, Shards: 1, Archive: &dump.Archive{}}
			opts := PlanOptions{Phase: dump.PreData, OnlyPublished: true}
			if differences, err := Compare(s, d, opts); err == nil || pgerror.From(err).Hint == "" {
				t.Errorf("compared with %d differences and the error %v", len(differences), err)
			}
			if _, err := Build(s, d, opts); err == nil {
				t.Error("planned without a publication")
			}
		})
	}
}
