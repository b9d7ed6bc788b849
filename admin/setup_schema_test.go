package admin

import (
	"context"
	"testing"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

func (e *engineStub) SetupSchema(_ context.Context, database string, remove bool) ([]mirror.SetupSchemaRow, error) {
	state := "installed"
	if remove {
		state = "removed"
	}
	return []mirror.SetupSchemaRow{{Shard: 0, Place: database, State: state}, {Shard: 1, Place: database, State: state}}, nil
}

// TestSetupSchema is what SETUP SCHEMA asks of the engine, and answers.
func TestSetupSchema(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", nil).ready()
	for statement, want := range map[string]string{
		`SETUP SCHEMA prod`:                 "T:shard,server,state D:0,prod,installed D:1,prod,installed C:SETUP SCHEMA Z:I",
		`setup schema "Weird ""P""" REMOVE`: `T:shard,server,state D:0,Weird "P",removed D:1,Weird "P",removed C:SETUP SCHEMA Z:I`,
		`SETUP SCHEMA`:                      "ERROR:42601 Z:I",
	} {
		if got := c.query(statement); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", statement, got, want)
		}
	}
}
