package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// allTypesSchema has the tables of testdata/alltypes.sql; types are in another.
const allTypesSchema = "alltypes"

// changesMark begins the second part of testdata/alltypes.sql.
const changesMark = "\n-- CHANGES\n"

// LoadAllTypes makes tables with every built-in type and rows of extremes. It
// takes a superuser and a database in which they are not.
func LoadAllTypes(ctx context.Context, conn *pgx.Conn) error {
	load, _, err := allTypesScript()
	if err == nil {
		_, err = conn.PgConn().Exec(ctx, load).ReadAll()
	}
	if err != nil {
		return fmt.Errorf("load the tables of all types: %w", err)
	}
	return nil
}

// ChangeAllTypes inserts, updates and deletes in all the tables of
// LoadAllTypes, in many transactions.
func ChangeAllTypes(ctx context.Context, conn *pgx.Conn) error {
	_, changes, err := allTypesScript()
	if err != nil {
		return err
	}
	// One message for each paragraph: a DO that commits must be alone in its.
	for paragraph := range strings.SplitSeq(changes, "\n\n") {
		if _, err := conn.PgConn().Exec(ctx, paragraph).ReadAll(); err != nil {
			return fmt.Errorf("change the tables of all types: %s: %w", paragraph, err)
		}
	}
	return nil
}

// AllTypes are the tables of LoadAllTypes, for Same.
func AllTypes(ctx context.Context, conn *pgx.Conn) ([]Table, error) {
	return TablesIn(ctx, conn, allTypesSchema)
}

func allTypesScript() (load, changes string, err error) {
	script, err := testdata("alltypes.sql")
	if err != nil {
		return "", "", err
	}
	load, changes, found := strings.Cut(script, changesMark)
	if !found {
		return "", "", fmt.Errorf("alltypes.sql has no line %q", strings.TrimSpace(changesMark))
	}
	return load, changes, nil
}
