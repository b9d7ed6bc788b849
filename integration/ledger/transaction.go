package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"
)

// transaction is one transaction of the workload while it is made.
type transaction struct {
	ctx        context.Context
	conn       *pgx.Conn
	random     *rand.Rand
	worker     *worker
	id         int64
	gid        string // of PREPARE TRANSACTION, "" for a plain commit
	commit     bool   // else it is rolled back
	isPrepared bool
	kinds      []string
	writes     int  // rows of ledger.writes
	entries    int  // of the journal
	transfer   bool // has locked accounts: not again, for the order of locks
}

// exec runs a statement that is not followed.
func (t *transaction) exec(sql string, args ...any) error {
	_, err := t.conn.Exec(t.ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// record runs a statement whose rows affected are rows of ledger.writes. $1 is
// the transaction in all statements.
func (t *transaction) record(sql string, args ...any) error {
	tag, err := t.conn.Exec(t.ctx, sql, append([]any{t.id}, args...)...)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	t.writes += int(tag.RowsAffected())
	return nil
}

// wrote runs common table expressions, of which c gives the rows written: key, id, version.
func (t *transaction) wrote(object, expressions string, args ...any) error {
	return t.record("WITH "+expressions+" INSERT INTO ledger.writes (tx, object, key, id, version) SELECT $1::bigint, '"+object+
		"', key::text, id::text, version FROM c", args...)
}

// deleted is wrote for rows deleted: key, id.
func (t *transaction) deleted(object, expressions string, args ...any) error {
	return t.record("WITH "+expressions+" INSERT INTO ledger.writes (tx, object, key, id, version, gone) SELECT $1::bigint, '"+object+
		"', key::text, id::text, nextval('ledger.versions'), true FROM c", args...)
}

// counted is wrote for rows without a name: key, amount.
func (t *transaction) counted(object, expressions string, args ...any) error {
	return t.record("WITH "+expressions+" INSERT INTO ledger.writes (tx, object, key, amount) SELECT $1::bigint, '"+object+
		"', key::text, sum(amount) FROM c GROUP BY key", args...)
}

// account chooses an account.
func (t *transaction) account() int64 {
	accounts := t.worker.run.accounts
	return accounts[t.random.IntN(len(accounts))]
}

// savepoint runs f in a subtransaction that is released or rolled back.
func (t *transaction) savepoint(release bool, f func() error) error {
	writes := t.writes
	if err := t.exec("SAVEPOINT step"); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	if release {
		return t.exec("RELEASE SAVEPOINT step")
	}
	t.writes = writes
	return t.exec("ROLLBACK TO SAVEPOINT step")
}

// outcome is how a transaction ended.
type outcome int

const (
	unknown outcome = iota // the connection was lost
	committed
	rolledBack
)

// run makes the transaction. With outcome unknown the connection is closed; a
// server's error is given with rolledBack.
func (t *transaction) run(body func(*transaction) error) (outcome, error) {
	err := t.begin()
	if err == nil {
		err = body(t)
	}
	if err == nil {
		err = t.exec("INSERT INTO ledger.txs (id, worker, kinds, writes) VALUES ($1, $2, $3, $4)", t.id, t.worker.number, strings.Join(t.kinds, " "), t.writes)
	}
	if err == nil {
		return t.end()
	}
	return t.failed(err)
}

func (t *transaction) begin() error {
	if err := t.exec("BEGIN"); err != nil {
		return err
	}
	// Held as long as the transaction lives, on the server: see resolve.
	return t.exec("SELECT pg_advisory_xact_lock($1, $2)", t.worker.run.number, t.worker.number)
}

func (t *transaction) end() (outcome, error) {
	if t.gid == "" {
		return t.finish(t.commit, "COMMIT", "ROLLBACK")
	}
	if err := t.exec("PREPARE TRANSACTION '" + t.gid + "'"); err != nil {
		return t.failed(err)
	}
	t.isPrepared = true
	return t.finish(t.commit, "COMMIT PREPARED '"+t.gid+"'", "ROLLBACK PREPARED '"+t.gid+"'")
}

func (t *transaction) finish(commit bool, commitSQL, rollbackSQL string) (outcome, error) {
	sql, done := rollbackSQL, rolledBack
	if commit {
		sql, done = commitSQL, committed
	}
	tag, err := t.conn.Exec(t.ctx, sql)
	if err != nil {
		return t.failed(fmt.Errorf("%s: %w", sql, err))
	}
	if commit && !strings.HasPrefix(tag.String(), "COMMIT") {
		return rolledBack, fmt.Errorf("%s was answered with %s", sql, tag)
	}
	return done, nil
}

// failed ends a transaction in which a statement failed.
func (t *transaction) failed(err error) (outcome, error) {
	if t.conn.IsClosed() {
		return unknown, err
	}
	if _, rollbackErr := t.conn.Exec(t.ctx, "ROLLBACK"); rollbackErr != nil {
		_ = t.conn.Close(t.ctx) // it is lost
		return unknown, err
	}
	if t.isPrepared {
		return unknown, err // whether it still is, is not known
	}
	return rolledBack, err
}
