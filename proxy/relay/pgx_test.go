package relay_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
)

func TestQueryModesOfPgx(t *testing.T) {
	t.Parallel()
	each(t, modes, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode, general: "default_pool_size = 5"})
		s.database.Exec(t, "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now())")
		for name, exec := range map[string]pgx.QueryExecMode{
			"cache_statement": pgx.QueryExecModeCacheStatement, "cache_describe": pgx.QueryExecModeCacheDescribe,
			"describe_exec": pgx.QueryExecModeDescribeExec, "exec": pgx.QueryExecModeExec, "simple": pgx.QueryExecModeSimpleProtocol,
		} {
			c, err := pgx.ParseConfig(s.dsn(""))
			if err != nil {
				t.Fatal(err)
			}
			c.DefaultQueryExecMode = exec
			conn := s.connectConfig(c)
			work(t, conn, name, mode)
		}
	})
}

// work is what an application does.
func work(t *testing.T, conn *pgx.Conn, name string, mode config.PoolerMode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := conn.Exec(ctx, "DELETE FROM item"); err != nil {
		t.Fatalf("%s: delete: %v", name, err)
	}
	for i := range 20 {
		if _, err := conn.Exec(ctx, "INSERT INTO item (id, name) VALUES ($1, $2)", i, strings.Repeat("x", i*1000)); err != nil {
			t.Fatalf("%s: insert: %v", name, err)
		}
	}
	_, err := conn.Exec(ctx, "INSERT INTO item (id, name) VALUES ($1, $2)", 1, "again")
	if err == nil || !strings.Contains(err.Error(), "23505") {
		t.Fatalf("%s: a duplicate gives %v", name, err)
	}
	rows, err := conn.Query(ctx, "SELECT id, name FROM item WHERE id >= $1 ORDER BY id", 5)
	if err != nil {
		t.Fatalf("%s: query: %v", name, err)
	}
	n := 5
	for rows.Next() {
		var id int
		var text string
		if err := rows.Scan(&id, &text); err != nil {
			t.Fatal(err)
		}
		if id != n || len(text) != n*1000 {
			t.Fatalf("%s: row %d has id %d and %d bytes", name, n, id, len(text))
		}
		n++
	}
	if err := rows.Err(); err != nil || n != 20 {
		t.Fatalf("%s: %d rows, %v", name, n, err)
	}
	if mode == config.ModeStatement {
		return
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatalf("%s: begin: %v", name, err)
	}
	var sum int
	if err := tx.QueryRow(ctx, "SELECT sum(id) FROM item").Scan(&sum); err != nil || sum != 190 {
		t.Fatalf("%s: sum %d, %v", name, sum, err)
	}
	if _, err := tx.Exec(ctx, "UPDATE item SET name = $2 WHERE id = $1", 3, "three"); err != nil {
		t.Fatalf("%s: update: %v", name, err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatalf("%s: rollback: %v", name, err)
	}
	var text string
	if err := conn.QueryRow(ctx, "SELECT name FROM item WHERE id = $1", 3).Scan(&text); err != nil || len(text) != 3000 {
		t.Fatalf("%s: %d bytes, %v", name, len(text), err)
	}
	n64, err := conn.CopyFrom(ctx, pgx.Identifier{"item"}, []string{"id", "name"}, pgx.CopyFromSlice(5000, func(i int) ([]any, error) {
		return []any{1000 + i, strings.Repeat("y", 100)}, nil
	}))
	if err != nil || n64 != 5000 {
		t.Fatalf("%s: copy: %d rows, %v", name, n64, err)
	}
	batch := &pgx.Batch{}
	for i := range 200 {
		batch.Queue("SELECT name FROM item WHERE id = $1", 1000+i)
	}
	results := conn.SendBatch(ctx, batch)
	for i := range 200 {
		if err := results.QueryRow().Scan(&text); err != nil || len(text) != 100 {
			t.Fatalf("%s: batch %d: %d bytes, %v", name, i, len(text), err)
		}
	}
	if err := results.Close(); err != nil {
		t.Fatalf("%s: batch: %v", name, err)
	}
}
