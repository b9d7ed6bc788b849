package admin

// argumentKind says which tokens an argument may be.
type argumentKind int

const (
	nameArgument      argumentKind = iota // word, "quoted", 'literal', number or $1
	integerArgument                       // the same; its text must be an integer
	textArgument                          // the same, and neighbouring tokens without blanks between them: an unquoted URL
	valuesArgument                        // one or more values with commas between them, or DEFAULT
	fixedArgument                         // as a name, but not $1: it decides about the result's columns
	parameterArgument                     // name of a session parameter and nothing else
	wordsArgument                         // all words up to the end
	slotArgument                          // as a name, but a word that looks like an option of COPY_DATA only in quotes
	tablesArgument                        // one or more names, each with or without a schema; a comma between them may be left out
	poolArgument                          // as a name, but the word MIRROR only in quotes: PAUSE MIRROR is another command
	tableArgument                         // one name, with or without a schema; a word that looks like an option of SYNC_SCHEMA only in quotes
	listArgument                          // whatever stands between a pair of parentheses; it has a grammar of its own
)

// argument is what stands for <name> in a Syntax string. An argument's name
// means the same in every command.
type argument struct {
	name    string
	kind    argumentKind
	meaning string
}

// arguments describes every argument.
var arguments = []argument{
	{"source", nameArgument, "name in [[databases]] of the database that is copied from"},
	{"destination", nameArgument, "name in [[databases]] of the database that is copied to"},
	{"publication", nameArgument, "publication on the source that names the tables"},
	{"slot", slotArgument, "replication slot on the source, made if it is not there; with several source shards the number of the shard follows it"},
	{"mirror", nameArgument, "name of a mirror, as SHOW MIRRORS has it"},
	{"settings", listArgument, "settings of a mirror, with commas between them: <setting> = <value>, SCHEMA <name> AS <name>, TABLE <name> AS <name> (EXCLUDE (...), RENAME (...), CAST (...), WHERE '...')"},
	{"setting_names", listArgument, "settings of a mirror, with commas between them: <setting>, SCHEMA <name>, TABLE <name>"},
	{"level", nameArgument, "info, warning or error"},
	{"text", nameArgument, "text to look for, in any case; not a pattern"},
	{"n", integerArgument, "number of rows, at least 1"},
	{"tables", tablesArgument, "tables, as schema.table, with blanks or commas between them; the name alone where one schema has it"},
	{"table", tableArgument, "a table, as schema.table; the name alone where one schema has it"},
	{"change", tableArgument, "the table that is to be changed, as schema.table: SHOW SCHEMA_DIFF tells what waits"},
	{"task", integerArgument, "number of a task, as SHOW TASKS has it in column id"},
	{"command", wordsArgument, "name of a command, or the words it begins with"},
	{"name", nameArgument, "name of a setting, as SHOW CONFIG has it"},
	{"setting", fixedArgument, "name of a setting, as SHOW CONFIG has it"},
	{"value", valuesArgument, "new value, or DEFAULT"},
	{"target", textArgument, "name in [[databases]], or a URL postgres://user:password@host:port/database"},
	{"user", poolArgument, "user of the clients, as SHOW POOLS has it"},
	{"database", poolArgument, "name in [[databases]]"},
	{"pool", integerArgument, "number of a pool, as SHOW POOLS has it in column id"},
	{"client", integerArgument, "number of a client, as SHOW CLIENTS has it in column id"},
	{"savepoint", nameArgument, "name of a savepoint"},
	{"statement", nameArgument, "name of a prepared statement"},
	{"parameter", parameterArgument, "name of a session parameter"},
}

func argumentNamed(name string) (*argument, bool) {
	for i := range arguments {
		if arguments[i].name == name {
			return &arguments[i], true
		}
	}
	return nil, false
}

// optionLike are words that are taken for a slot's name only in quotes: who
// types them means an option.
var optionLike = []string{"SKIP", "SYNC", "SKIP_SCHEMA", "SYNC_ONLY", "SCHEMA", "ONLY"}

// syncOptions are words that are taken for a table's name only in quotes.
var syncOptions = []string{"DRY", "RUN", "FORCE", "DRY_RUN"}
