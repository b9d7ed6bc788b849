package admin

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// scalarParser reads one item of a SELECT without FROM: a literal, a parameter
// or a function, maybe with a cast and a name.
type scalarParser struct {
	tokens []token
	at     int
}

// item gives the column and its value, or not ok for anything else.
func (p *scalarParser) item() (Column, scalar, bool) {
	column, value, ok := p.expression()
	if !ok {
		return Column{}, nil, false
	}
	for p.takes("::") {
		to, known := castTypes[baseName(p.next())]
		if !known {
			return Column{}, nil, false
		}
		if column.Name == anonymous {
			column.Name = string(to)
		}
		column.Type, value = to, castTo(to, value)
	}
	isNamed := p.takes("AS")
	if t := p.peek(); t.kind == quotedToken || t.kind == wordToken {
		column.Name = p.next().text
		if t.kind == wordToken {
			column.Name = strings.ToLower(column.Name)
		}
	} else if isNamed {
		return Column{}, nil, false
	}
	return column, value, p.peek().kind == endToken
}

// anonymous is PostgreSQL's name for a column without one.
const anonymous = "?column?"

func (p *scalarParser) expression() (Column, scalar, bool) {
	t := p.next()
	switch t.kind {
	case numberToken:
		if n, err := strconv.ParseInt(t.text, 10, 32); err == nil {
			return Column{Name: anonymous, Type: int4Type}, constant(int32(n)), true
		}
		n, err := strconv.ParseInt(t.text, 10, 64)
		return Column{Name: anonymous, Type: Int8}, constant(n), err == nil
	case stringToken:
		return Column{Name: anonymous, Type: Text}, constant(t.text), true
	case parameterToken:
		return Column{Name: anonymous, Type: Text}, parameterValue(t), true
	case wordToken:
		return p.named(t)
	}
	return Column{}, nil, false
}

// named reads what begins with a word.
func (p *scalarParser) named(t token) (Column, scalar, bool) {
	name := baseName(t)
	if !p.takes("(") {
		switch name {
		case "true", "false":
			return Column{Name: "bool", Type: Bool}, constant(name == "true"), true
		case "null":
			return Column{Name: anonymous, Type: Text}, constant(nil), true
		}
		f, known := keywordFunctions[name]
		return Column{Name: name, Type: f.result}, withoutArguments(f), known
	}
	f, known := functions[name]
	var arguments []scalar
	for known && !p.takes(")") {
		if len(arguments) > 0 && !p.takes(",") {
			return Column{}, nil, false
		}
		_, argument, ok := p.expression()
		if !ok {
			return Column{}, nil, false
		}
		arguments = append(arguments, argument)
	}
	if !known || len(arguments) < f.least || len(arguments) > f.most {
		return Column{}, nil, false
	}
	return Column{Name: name, Type: f.result}, func(c *console, parameters []*string) (any, error) {
		values := make([]any, len(arguments))
		for i, argument := range arguments {
			var err error
			if values[i], err = argument(c, parameters); err != nil {
				return nil, err
			}
		}
		return f.value(c, values)
	}, true
}

func (p *scalarParser) peek() token {
	if p.at >= len(p.tokens) {
		return token{kind: endToken}
	}
	return p.tokens[p.at]
}

func (p *scalarParser) next() token {
	t := p.peek()
	p.at++
	return t
}

func (p *scalarParser) takes(word string) bool {
	if !p.peek().is(word) {
		return false
	}
	p.at++
	return true
}

func constant(v any) scalar {
	return func(*console, []*string) (any, error) { return v, nil }
}

func parameterValue(t token) scalar {
	n := parameterNumber(t)
	return func(_ *console, parameters []*string) (any, error) {
		if n > len(parameters) || parameters[n-1] == nil {
			return nil, nil
		}
		return *parameters[n-1], nil
	}
}

// castTypes are the types that a value can be cast to.
var castTypes = map[string]ColumnType{
	"text": Text, "varchar": Text, "name": nameType, "bool": Bool, "boolean": Bool,
	"int": int4Type, "integer": int4Type, "int4": int4Type, "int8": Int8, "bigint": Int8,
}

// castTo converts by way of the text form.
func castTo(to ColumnType, value scalar) scalar {
	return func(c *console, parameters []*string) (any, error) {
		v, err := value(c, parameters)
		if v == nil || err != nil {
			return nil, err
		}
		encoded, err := encodeText(v)
		if err != nil {
			return nil, err
		}
		text := string(encoded)
		switch to {
		case Bool:
			if text == "t" || text == "f" {
				return text == "t", nil
			}
			kept, ok := boolean(text)
			return kept == "on", castError(to, text, ok)
		case int4Type:
			n, err := strconv.ParseInt(text, 10, 32)
			return int32(n), castError(to, text, err == nil)
		case Int8:
			n, err := strconv.ParseInt(text, 10, 64)
			return n, castError(to, text, err == nil)
		}
		return text, nil
	}
}

func castError(to ColumnType, text string, ok bool) error {
	if ok {
		return nil
	}
	return pgerror.New(invalidTextRepresentation, "invalid input syntax for type %s: \"%s\"", to, text)
}

// function is one that drivers call.
type function struct {
	result      ColumnType
	least, most int // arguments
	value       func(c *console, arguments []any) (any, error)
}

func withoutArguments(f function) scalar {
	return func(c *console, _ []*string) (any, error) { return f.value(c, nil) }
}

// always makes a function that cannot fail and takes no arguments.
func always(result ColumnType, value func(c *console) any) function {
	return function{result: result, value: func(c *console, _ []any) (any, error) { return value(c), nil }}
}

var (
	currentUser     = always(nameType, func(c *console) any { return c.client.User })
	currentDatabase = always(nameType, func(c *console) any { return c.client.Database })
	currentSchema   = always(nameType, func(*console) any { return "public" })
	currentTime     = always(Timestamptz, func(*console) any { return time.Now() })
)

// keywordFunctions are written without parentheses.
var keywordFunctions = map[string]function{
	"current_user": currentUser, "session_user": currentUser, "user": currentUser, "current_role": currentUser,
	"current_catalog": currentDatabase, "current_schema": currentSchema, "current_timestamp": currentTime,
}

var functions = map[string]function{
	"version": always(Text, func(c *console) any {
		return "PostgreSQL " + c.server.serverVersion()
	}),
	"current_database": currentDatabase, "current_schema": currentSchema, "now": currentTime,
	"clock_timestamp": currentTime, "statement_timestamp": currentTime,
	"pg_backend_pid":           always(int4Type, func(c *console) any { return int32(c.client.ProcessID & math.MaxInt32) }),
	"pg_is_in_recovery":        always(Bool, func(*console) any { return false }),
	"pg_postmaster_start_time": always(Timestamptz, func(c *console) any { return c.server.started }),
	"pg_my_temp_schema":        always(oidType, func(*console) any { return "0" }),
	"pg_advisory_unlock_all":   always(Text, func(*console) any { return "" }), // asyncpg's reset
	"current_schemas": {Text, 1, 1, func(*console, []any) (any, error) {
		return "{pg_catalog,public}", nil
	}},
	"current_setting": {Text, 1, 2, currentSetting},
	"set_config":      {Text, 3, 3, setConfig},
}

// currentSetting is current_setting(name [, missing_ok]).
func currentSetting(c *console, arguments []any) (any, error) {
	name, _ := arguments[0].(string)
	if _, known := parameterNamed(name); known {
		return c.parameters.get(name), nil
	}
	if setting, known := c.setting(name); known {
		return setting.Value, nil
	}
	if len(arguments) > 1 && arguments[1] == true {
		return nil, nil
	}
	return nil, pgerror.New(pgerror.UndefinedObject, "unrecognized configuration parameter \"%s\"", name)
}

// setConfig is set_config(name, value, is_local).
func setConfig(c *console, arguments []any) (any, error) {
	name, _ := arguments[0].(string)
	value, _ := arguments[1].(string)
	set := c.parameters.set
	if isLocal, ok := arguments[2].(bool); ok && isLocal {
		if !c.tx.open {
			return value, nil
		}
		set = c.parameters.setLocal
	}
	if err := set(name, value); err != nil {
		return nil, err
	}
	c.reportParameter(name)
	return c.parameters.get(name), nil
}
