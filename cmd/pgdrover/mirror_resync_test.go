package main

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// stubResyncs answers with one look after another; the last again and again.
type stubResyncs struct {
	stubMirrors
	task    mirror.TaskID
	looks   [][]mirror.ResyncRow
	request mirror.ResyncRequest
}

func (s *stubMirrors) Resync(context.Context, string, mirror.ResyncRequest) (mirror.Resynced, error) {
	return mirror.Resynced{}, s.refuse
}

func (s *stubMirrors) Resyncs(context.Context, string, []catalog.Name) ([]mirror.ResyncRow, error) {
	return nil, s.refuse
}

func (s *stubResyncs) Resync(_ context.Context, _ string, r mirror.ResyncRequest) (mirror.Resynced, error) {
	s.request = r
	return mirror.Resynced{Started: mirror.Started{Task: s.task}, Tables: []catalog.Name{{Schema: "public", Name: "t"}}}, s.refuse
}

func (s *stubResyncs) Resyncs(context.Context, string, []catalog.Name) ([]mirror.ResyncRow, error) {
	now := s.looks[0]
	if len(s.looks) > 1 {
		s.looks = s.looks[1:]
	}
	return now, nil
}

// TestMirrorResync is how the command ends, and what it prints meanwhile.
func TestMirrorResync(t *testing.T) {
	t.Parallel()
	row := func(change func(*mirror.ResyncRow)) []mirror.ResyncRow {
		r := mirror.ResyncRow{Schema: "public", Table: "t", State: mirror.TableStreaming, Rows: 1234567}
		change(&r)
		return []mirror.ResyncRow{r}
	}
	copying := func(percent float64) []mirror.ResyncRow {
		return row(func(r *mirror.ResyncRow) {
			eta := 65 * time.Second
			r.State, r.Strategy, r.Step, r.Percent, r.ETA = mirror.TableCopying, resync.Swap, "copy rows", &percent, &eta
		})
	}
	asked := row(func(r *mirror.ResyncRow) { r.Asked = true })
	done := row(func(*mirror.ResyncRow) {})
	failed := row(func(r *mirror.ResyncRow) { r.Error = pgerror.New("0A000", "cannot be swapped") })
	ended, end := context.WithCancel(t.Context())
	end()
	for _, test := range []struct {
		name    string
		ctx     context.Context
		command mirrorResyncCommand
		engine  stubResyncs
		code    int
		message string
		out     string
	}{
		{"copied", t.Context(), mirrorResyncCommand{Tables: []string{"t"}, Strategy: "swap"}, stubResyncs{task: 7, looks: [][]mirror.ResyncRow{asked, copying(41), copying(44), copying(58), done}}, 0, "",
			"public.t: waiting\npublic.t: swap: copy rows, 40%, about 1m5s left\npublic.t: swap: copy rows, 50%, about 1m5s left\npublic.t: streaming, 1,234,567 rows copied\n"},
		{"not copied", t.Context(), mirrorResyncCommand{}, stubResyncs{task: 7, looks: [][]mirror.ResyncRow{failed}}, 1, "cannot be swapped", "public.t: streaming, not copied again: cannot be swapped\n"},
		{"refused", t.Context(), mirrorResyncCommand{}, stubResyncs{stubMirrors: stubMirrors{refuse: pgerror.New("53100", "does not fit")}}, 1, "does not fit", ""},
		{"nobody works", t.Context(), mirrorResyncCommand{}, stubResyncs{}, 3, "", ""},
		{"without waiting", t.Context(), mirrorResyncCommand{NoWait: true}, stubResyncs{}, 0, "", "mirror \"m\" is to copy one table again\n"},
		{"the waiting is ended", ended, mirrorResyncCommand{}, stubResyncs{task: 7, looks: [][]mirror.ResyncRow{asked}}, 3, "", "public.t: waiting\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.command.mirrorTarget, test.command.every = mirrorTarget{Mirror: "m"}, time.Millisecond
			var out, errs bytes.Buffer
			err := test.command.resync(test.ctx, &test.engine, &streams{out: &out, err: &errs})
			message := ""
			if told := exit(0); err != nil && !errors.As(err, &told) {
				message = err.Error()
			}
			if code(err) != test.code || message != test.message || out.String() != test.out {
				t.Errorf("exit code %d, %q, %q; want %d, %q, %q\n%s", code(err), message, out.String(), test.code, test.message, test.out, errs.String())
			}
			want := mirror.ResyncRequest{Tables: test.command.Tables, Strategy: resync.Strategy(test.command.Strategy), NoStart: true}
			if diff := cmp.Diff(want, test.engine.request); diff != "" {
				t.Error(diff)
			}
		})
	}
}
