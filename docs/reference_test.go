package docs_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
)

var update = flag.Bool("update", false, "write the pages of reference/ anew")

// generated begins every page of reference/.
const generated = "<!-- Made from the program. After a change of it: go test ./docs -update -->\n\n"

// page compares a page of reference/ with what the program says.
func page(t *testing.T, name, want string) {
	t.Helper()
	want = generated + strings.TrimRight(want, "\n") + "\n"
	path := filepath.Join("reference", name)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./docs -update writes it)", err)
	}
	if diff := cmp.Diff(want, string(have)); diff != "" {
		t.Errorf("%s is not what the program says; go test ./docs -update writes it anew (-program +page):\n%s", path, diff)
	}
}

// cell makes text fit into a cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;", "\n", "<br>").Replace(text)
}

// code makes text a code span in a cell of a table; "" stays empty.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

// row writes one line of a table.
func row(out *strings.Builder, cells ...string) {
	fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
}

// head writes the first two lines of a table.
func head(out *strings.Builder, titles ...string) {
	row(out, titles...)
	fmt.Fprintf(out, "|%s\n", strings.Repeat("---|", len(titles)))
}

// sentence ends text with a period.
func sentence(text string) string {
	return strings.ToUpper(text[:1]) + strings.TrimRight(text[1:], ".") + "."
}

func columns(out *strings.Builder, all []admin.Column) {
	head(out, "column", "type", "meaning")
	for _, c := range all {
		row(out, code(c.Name), string(c.Type), cell(c.Meaning))
	}
	out.WriteString("\n")
}

func TestCommandsPage(t *testing.T) {
	var out strings.Builder
	out.WriteString("# Commands of the admin database\n\n" +
		"`SHOW HELP;` lists them, `SHOW HELP <command>;` tells all about one. Words in capitals are keywords, in any case; `<name>` stands for\n" +
		"a word, `\"a quoted identifier\"` or `'a literal'`; `[ ]` may be left out; of `{ | }` one is chosen. Options come in any order.\n" +
		"The columns of every `SHOW` are in [show.md](show.md).\n\n")
	head(&out, "command", "who", "what it does")
	for _, c := range admin.Reference() {
		row(&out, fmt.Sprintf("[%s](#%s)", cell(c.Name), anchor(c.Name)), string(c.Role), cell(c.Help))
	}
	for _, c := range admin.Reference() {
		fmt.Fprintf(&out, "\n## %s\n\n%s %s\n\n", cell(c.Name), sentence(c.Help), c.Description)
		fmt.Fprintf(&out, "    %s\n\n", c.Syntax)
		fmt.Fprintf(&out, "Who may use it: %s. Command tag: `%s`. Example:\n\n```\n%s;\n```\n\n", who(c.Role), c.Tag, c.Example)
		if len(c.Arguments) > 0 {
			head(&out, "argument", "meaning")
			for _, a := range c.Arguments {
				row(&out, code("<"+a.Name+">"), cell(a.Meaning))
			}
			out.WriteString("\n")
		}
		results(&out, c)
	}
	out.WriteString("\n## What clients and drivers send by themselves\n\n" +
		"These are understood so that psql, pgx, psycopg, JDBC and node-postgres work. They change nothing outside the session.\n\n```\n" +
		strings.Join(admin.SessionStatements(), "\n") + "\n```\n")
	page(t, "commands.md", out.String())
}

func who(role admin.Role) string {
	if role == admin.Reader {
		return "admin and reader"
	}
	return "admin"
}

// results tells the columns of a command, those of a SHOW by a link.
func results(out *strings.Builder, c admin.CommandDoc) {
	for _, r := range c.Results {
		switch {
		case strings.HasPrefix(c.Name, "SHOW "):
			fmt.Fprintf(out, "Its columns: [show.md](show.md#%s).\n\n", anchor(c.Name))
			continue
		case r.Option == "":
			out.WriteString("Result:\n\n")
		default:
			fmt.Fprintf(out, "Result with `%s`:\n\n", r.Option)
		}
		columns(out, r.Columns)
	}
}

func TestShowPage(t *testing.T) {
	var out strings.Builder
	out.WriteString("# Columns of SHOW\n\nIn the order in which they come. The first columns of `SHOW SCHEMA_SYNC`, `SHOW TASKS`, `SHOW TABLE_COPIES` and\n" +
		"`SHOW REPLICATION_SLOTS` are PgDog's; so are those of `SHOW POOLS`, `SHOW CLIENTS`, `SHOW SERVERS`, `SHOW STATS`, `SHOW BANS`, `SHOW PREPARED` and `SHOW LISTENERS`.\n" +
		"A reader may use every one of these commands.\n")
	for _, c := range admin.Reference() {
		if !strings.HasPrefix(c.Name, "SHOW ") || len(c.Results) == 0 {
			continue
		}
		if c.Role != admin.Reader {
			t.Errorf("%s is not for readers; the page says so", c.Name)
		}
		fmt.Fprintf(&out, "\n## %s\n\n%s %s\n\n", c.Name, sentence(c.Help), c.Description)
		for _, r := range c.Results {
			columns(&out, r.Columns)
		}
	}
	page(t, "show.md", out.String())
}

func TestConfigurationPage(t *testing.T) {
	var out strings.Builder
	out.WriteString("# Configuration\n\n" +
		"Two TOML files: `pgdog.toml` (`-c`, `--config`) and `users.toml` (`-u`, `--users`). `pgdrover configcheck` checks both.\n" +
		"[pgdog.toml.example](../../pgdog.toml.example) and [users.toml.example](../../users.toml.example) have every key with its default.\n\n" +
		"A key that PgDog has and nothing here acts on yet is accepted with a warning; such keys are listed at the end.\n" +
		"An unknown key is an error.\n\n" +
		"*restart*: a change takes effect at the next start, not with `RELOAD`. *SET*: `SET` may change it while pgdrover runs.\n")
	for _, table := range config.Describe() {
		if table.Supported() && !table.AnyKeys {
			supported(&out, table)
		}
	}
	out.WriteString("\n## Accepted, without effect\n\n")
	head(&out, "table", "keys")
	for _, table := range config.Describe() {
		if keys := unsupported(table); keys != "" {
			row(&out, code(header(table)), keys)
		}
	}
	page(t, "configuration.md", out.String())
}

func header(t config.Table) string {
	if t.Array {
		return "[[" + t.Name + "]]"
	}
	return "[" + t.Name + "]"
}

func supported(out *strings.Builder, t config.Table) {
	fmt.Fprintf(out, "\n## %s\n\n%s In %s.\n\n", header(t), sentence(t.Description), strings.Join(t.Files, " or "))
	head(out, "key", "type", "default", "", "meaning")
	for _, k := range t.Keys {
		if k.Supported() {
			row(out, code(k.Name), cell(keyType(k)), code(k.Default), keyMarks(k), cell(keyMeaning(k)))
		}
	}
}

func keyType(k config.Key) string {
	text := k.Type
	if len(k.Values) > 0 {
		text = strings.Join(k.Values, ", ")
	}
	if k.Unit != "" {
		text += ", " + k.Unit
	}
	return text
}

func keyMarks(k config.Key) string {
	var marks []string
	for word, is := range map[string]bool{"required": k.Required(), "restart": k.NeedsRestart(), "SET": k.Settable()} {
		if is {
			marks = append(marks, "*"+word+"*")
		}
	}
	slices.Sort(marks)
	return strings.Join(marks, ", ")
}

func keyMeaning(k config.Key) string {
	text := k.Description
	if len(k.Env) > 0 {
		text += " Environment: " + strings.Join(k.Env, ", ") + "."
	}
	return text
}

func unsupported(t config.Table) string {
	switch {
	case t.AnyKeys:
		return "any"
	case !t.Supported():
		return "the whole table"
	}
	var names []string
	for _, k := range t.Keys {
		if !k.Supported() {
			names = append(names, code(k.Name))
		}
	}
	return strings.Join(names, ", ")
}

func TestKindsPage(t *testing.T) {
	var out strings.Builder
	out.WriteString("# Kinds of objects and their phases\n\n" +
		"The kind is pg_dump's own word, as `pg_restore --list` shows it. An object runs no earlier than what it depends on.\n" +
		"A kind that is not in this table is an error that names it; nothing is left out in silence.\n" +
		"`session`: a setting that every connection has already. `none`: never run.\n\n")
	head(&out, "kind", "phase", "why")
	for _, k := range dump.Kinds() {
		row(&out, code(string(k.Kind)), k.Phase.String(), cell(k.Why))
	}
	out.WriteString("\n## Exceptions by object\n\n" +
		"- A trigger or rule that is `ENABLE ALWAYS` or `ENABLE REPLICA` waits for the cutover phase ([why](../decisions/0006-what-waits-for-cutover.md)).\n" +
		"- A primary key and a replica identity's index or constraint come in the pre_data phase, so that changes can be applied; other constraints in post_data.\n" +
		"- An index attached to its parent (partitions of a primary key) comes as soon as both are there.\n" +
		"- A constraint that stays `NOT VALID` until then is validated in the cutover phase.\n")
	page(t, "kinds.md", out.String())
}

// TestCommandLinePage compares with what the program prints when it is asked.
func TestCommandLinePage(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pgdrover")
	if output, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../cmd/pgdrover").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, output)
	}
	help := func(arguments ...string) string {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(program, append(arguments, "--help")...)
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "COLUMNS=100"), &stdout, &stderr
		if err := cmd.Run(); err != nil || stderr.Len() > 0 {
			t.Fatalf("%v --help: %v\n%s", arguments, err, stderr.String())
		}
		return strings.TrimRight(stdout.String(), "\n")
	}
	general := help()
	var out strings.Builder
	out.WriteString("# Command line\n\n" + commandLine + "\n```\n" + general + "\n```\n")
	for _, command := range subcommands(general) {
		fmt.Fprintf(&out, "\n## pgdrover %s\n\n```\n%s\n```\n", command, help(strings.Fields(command)...))
	}
	page(t, "cli.md", out.String())
}

// subcommands reads the names of the commands from the program's help.
func subcommands(help string) []string {
	_, list, _ := strings.Cut(help, "\nCommands:\n")
	var names []string
	for line := range strings.Lines(list) {
		if rest, found := strings.CutPrefix(line, "  "); found && rest[0] != ' ' {
			var words []string // up to the arguments and flags
			for word := range strings.FieldsSeq(rest) {
				if strings.ContainsAny(word[:1], "-<[") {
					break
				}
				words = append(words, word)
			}
			names = append(names, strings.Join(words, " "))
		}
	}
	return names
}

// commandLine is what the program's own help leaves unsaid.
const commandLine = "Without a command `pgdrover` is `pgdrover run`. `schema-sync`, `data-sync` and `schema-diff` do the work of `SCHEMA_SYNC`, of\n" +
	"`COPY_DATA` and `REPLICATE`, and of `SHOW SCHEMA_DIFF` in a process of their own, with the same configuration; the task is visible in\n" +
	"`SHOW TASKS` of a running pgdrover, and `STOP_TASK` there stops it. Without a flag for the phase `schema-sync` runs PRE.\n" +
	"The `mirror` commands do the work of `CREATE MIRROR ... NO START`, `ALTER MIRROR`, `PAUSE MIRROR`, `RESUME MIRROR`, `RETRY MIRROR`, `RESYNC`, `DROP MIRROR` and\n" +
	"`SHOW MIRROR_LOG`; what has to stay for that is the pgdrover that serves ([mirrors](../mirrors.md)).\n\n" +
	"`--config` is `pgdog.toml` and `--users` is `users.toml` in the working directory unless they are given.\n\n" +
	"| exit code | meaning |\n|---|---|\n" +
	"| 0 | done; of `schema-diff`: no differences; of `data-sync`: it was stopped while every table streamed |\n" +
	"| 1 | failed, the configuration has an error, or the task was stopped; of `schema-diff`: there are differences; of `data-sync`: a table is " +
	"stopped, or the task was before every table streamed; of `mirror drop`: something is left, which the warnings tell |\n" +
	"| 2 | the command line is wrong; of `mirror create` and `mirror alter`: a setting is |\n" +
	"| 3 | of `schema-diff`: it could not compare; of `data-sync`: how the tables are could not be read; of `mirror log`: the log could not be read; of `mirror resume`, `retry` and `alter`: nobody has taken the mirror up in time; of `mirror resync`: nobody works on the mirror, or the waiting was ended |\n\n" +
	"Progress and results go to standard output, warnings and errors to standard error. On a terminal `schema-sync` and `data-sync` draw bars,\n" +
	"elsewhere they write lines, with `--json` one object a line. The first SIGINT or SIGTERM stops the task in an orderly way: what was applied is\n" +
	"recorded, slots and positions stay, and the same command goes on from there. The second ends the process at once; the task is then\n" +
	"`interrupted`, and the same command goes on as well.\n"
