package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// schemaReport prints what was found of tables for people.
type schemaReport struct {
	out    io.Writer
	colour bool
	err    error
}

func newSchemaReport(s *streams) *schemaReport {
	return &schemaReport{out: s.out, colour: onTerminal(s.out)}
}

func (r *schemaReport) printf(format string, args ...any) {
	if r.err == nil {
		_, r.err = fmt.Fprintf(r.out, format, args...)
	}
}

// The colours of a terminal (ECMA-48, SGR).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	strong = "1"
)

func (r *schemaReport) paint(code, text string) string {
	if !r.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (r *schemaReport) verdict(v drift.Verdict) string {
	text := fmt.Sprintf("%-12s", v)
	switch {
	case v.Stops():
		return r.paint(red, text)
	case v == drift.OK:
		return r.paint(green, text)
	}
	return r.paint(yellow, text)
}

// name is a table, with its shard where there are several.
func name(reports []mirror.TableReport, of mirror.TableReport) string {
	text := of.Table.String()
	for _, r := range reports {
		if r.Shard != of.Shard {
			return fmt.Sprintf("%s on shard %d", text, of.Shard)
		}
	}
	return text
}

// validation prints a line a table, and the ways out of those that must not go on.
func (r *schemaReport) validation(reports []mirror.TableReport) error {
	stopped := 0
	for _, t := range reports {
		r.printf("%s  %s", r.verdict(t.Verdict), name(reports, t))
		if n := len(t.Differences); n > 0 {
			r.printf("  (%d differences)", n)
		}
		r.printf("\n")
		if t.Verdict.Stops() || t.Verdict == drift.Apply {
			stopped++
			r.printf("    %s\n", t.Reason)
			r.ways(t.Judgement)
		}
		if len(t.Used) > 0 {
			r.printf("    goes on by %s\n", strings.Join(t.Used, ", "))
		}
	}
	switch stopped {
	case 0:
		r.printf("%s\n", r.paint(green, "every table goes on"))
	default:
		r.printf("%s\n", r.paint(red, fmt.Sprintf("%d of %d must not go on as they are", stopped, len(reports))))
	}
	return r.err
}

func (r *schemaReport) ways(j drift.Judgement) {
	for line := range strings.SplitSeq(j.WaysText(""), "\n") {
		if line != "" {
			r.printf("    %s\n", line)
		}
	}
}

// differences prints each difference with both definitions.
func (r *schemaReport) differences(reports []mirror.TableReport) error {
	total := 0
	for _, t := range reports {
		if len(t.Differences) == 0 {
			continue
		}
		total += len(t.Differences)
		r.printf("%s\n", r.paint(strong, name(reports, t)))
		for _, d := range t.Differences {
			about := d.Column
			if about == "" {
				about = d.Object
			}
			r.printf("  %s  %s", r.verdict(d.Final), d.Kind)
			if about != "" {
				r.printf(" of %s", about)
			}
			if d.By != "" {
				r.printf(", by %s", d.By)
			}
			r.printf("\n")
			r.side(red, "-", "destination", d.TargetHas)
			r.side(green, "+", "source", d.SourceHas)
			if d.Reason != "" {
				r.printf("      %s\n", d.Reason)
			}
		}
		r.ways(t.Judgement)
	}
	if total == 0 {
		r.printf("no differences\n")
	}
	return r.err
}

func (r *schemaReport) side(colour, sign, which, text string) {
	if text == "" {
		text = "(nothing)"
	}
	r.printf("      %s\n", r.paint(colour, fmt.Sprintf("%s %-11s  %s", sign, which, text)))
}

// steps prints the statements with what they cost.
func (r *schemaReport) steps(report mirror.SyncSchemaReport, dry bool) error {
	for _, s := range report.Steps {
		r.printf("%-8s  shard %d  %s\n", s.State, s.Shard, r.paint(strong, s.SQL+";"))
		r.printf("          %s\n", cost(s))
		if s.Why != "" {
			r.printf("          %s\n", s.Why)
		}
	}
	for _, table := range report.Copying {
		verb := "is"
		if dry {
			verb = "would be"
		}
		r.printf("%s %s copied again: values that it needs are not in the stream\n", table, verb)
	}
	for _, left := range report.Left {
		r.printf("%s\n", r.paint(red, fmt.Sprintf("%s must not go on all the same: %s", left.Table, left.Reason)))
		r.ways(left)
	}
	if len(report.Steps)+len(report.Copying)+len(report.Left) == 0 {
		r.printf("nothing to do\n")
	}
	return r.err
}

// cost says what a statement locks, and about how long.
func cost(s mirror.SchemaStep) string {
	text := "takes no lock of the table"
	if s.Lock != drift.NoLock {
		text = "takes " + string(s.Lock)
		if s.Blocks() {
			text += ", which keeps writers out"
		}
	}
	switch {
	case s.Rewrites:
		text += ", writes the table anew"
	case s.Scans:
		text += ", reads the whole table"
	}
	if s.Lossy {
		text += ", LOSES VALUES"
	}
	return fmt.Sprintf("%s, about %s", text, s.Estimate.Round(time.Millisecond))
}

// printScript prints the statements as psql can run them, shard by shard.
func printScript(out io.Writer, report mirror.SyncSchemaReport) error {
	shard := -1
	for _, s := range report.Steps {
		if s.Shard != shard {
			shard = s.Shard
			if _, err := fmt.Fprintf(out, "-- shard %d of the destination\n", shard); err != nil {
				return err
			}
		}
		note := ""
		if s.After {
			note = " -- when the table is copied again"
		}
		if s.Lossy {
			note += " -- loses values"
		}
		if _, err := fmt.Fprintf(out, "%s;%s\n", s.SQL, note); err != nil {
			return err
		}
	}
	return nil
}

// reportObject is a table's report as JSON.
type reportObject struct {
	Mirror string `json:"mirror"`
	Shard  int    `json:"shard"`
	drift.Judgement
	Source      string `json:"source_fingerprint,omitempty"`
	Destination string `json:"destination_fingerprint,omitempty"`
}

func printReportsJSON(out io.Writer, reports []mirror.TableReport) error {
	encoder := json.NewEncoder(out)
	for _, r := range reports {
		if err := encoder.Encode(reportObject{r.Mirror, r.Shard, r.Judgement, r.SourceFingerprint, r.DestinationFingerprint}); err != nil {
			return err
		}
	}
	return nil
}

func printDifferencesJSON(out io.Writer, reports []mirror.TableReport) error {
	encoder := json.NewEncoder(out)
	for _, r := range reports {
		for _, d := range r.Differences {
			object := struct {
				Mirror string `json:"mirror"`
				Shard  int    `json:"shard"`
				drift.Judged
			}{r.Mirror, r.Shard, d}
			if err := encoder.Encode(object); err != nil {
				return err
			}
		}
	}
	return nil
}

func printStepsJSON(out io.Writer, report mirror.SyncSchemaReport) error {
	encoder := json.NewEncoder(out)
	for _, s := range report.Steps {
		if err := encoder.Encode(s); err != nil {
			return err
		}
	}
	for _, left := range report.Left {
		if err := encoder.Encode(left); err != nil {
			return err
		}
	}
	return nil
}
