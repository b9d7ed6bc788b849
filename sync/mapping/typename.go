package mapping

import (
	"regexp"
	"strconv"
	"strings"
)

// sameTypeName tells whether two spellings mean one type with one modifier:
// what a person writes, and what format_type prints with an empty search_path.
func sameTypeName(declared, printed string) bool { return canonical(declared) == canonical(printed) }

// typeName takes a type's name apart: name, modifiers, time zone, dimensions.
var typeName = regexp.MustCompile(`(?s)^(.*?)(\([0-9, -]*\))?( with time zone| without time zone)?((?:\[[0-9]*\])*)$`)

// spellings are those of one type that SQL has more than one for (gram.y,
// GenericType and SimpleTypename).
var spellings = map[string]string{
	"int": "integer", "int4": "integer", "int2": "smallint", "int8": "bigint", "float4": "real", "float8": "double precision", "float": "double precision",
	"bool": "boolean", "varchar": "character varying", "char varying": "character varying", "char": "character",
	"national character": "character", "nchar": "character", "decimal": "numeric", "dec": "numeric", "varbit": "bit varying",
	"timestamptz": "timestamp", "timetz": "time",
}

// canonical gives one spelling of a type.
func canonical(text string) string {
	parts := typeName.FindStringSubmatch(fold(text))
	written := strings.TrimPrefix(strings.TrimSpace(parts[1]), "pg_catalog.")
	modifier, zone := strings.ReplaceAll(parts[2], " ", ""), parts[3]
	name := written
	if spelling, ok := spellings[written]; ok {
		name = spelling
	}
	switch {
	case written == "timestamptz", written == "timetz":
		zone = " with time zone"
	case zone == " without time zone":
		zone = ""
	}
	switch {
	case name == "bpchar" && modifier != "":
		name = "character"
	case (name == "character" || name == "bit") && modifier == "":
		modifier = "(1)"
	case name == "numeric" && modifier != "" && !strings.Contains(modifier, ","):
		modifier = strings.TrimSuffix(modifier, ")") + ",0)"
	case written == "float" && modifier != "": // binary digits, of which real has 24
		if digits, err := strconv.Atoi(strings.Trim(modifier, "()")); err == nil && digits <= 24 {
			name = "real"
		}
		modifier = ""
	}
	if parts[4] != "" { // how many dimensions are declared means nothing to PostgreSQL
		zone += "[]"
	}
	return name + modifier + zone
}

// fold lowers what is not quoted, takes needless quotes away, and leaves one
// blank where there are several.
func fold(text string) string {
	var out strings.Builder
	blank := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch c {
		case '"':
			end := i + 1
			for end < len(text) && (text[end] != '"' || end+1 < len(text) && text[end+1] == '"') {
				if text[end] == '"' {
					end++
				}
				end++
			}
			if blank && out.Len() > 0 && !strings.HasSuffix(out.String(), ".") {
				out.WriteByte(' ')
			}
			blank = false
			out.WriteString(unquoted(text[i:min(end+1, len(text))]))
			i = end
		case ' ', '\t', '\n', '\r':
			blank = true
		default:
			if blank && out.Len() > 0 && !strings.ContainsRune("(),.[]", rune(c)) && !strings.HasSuffix(out.String(), ".") {
				out.WriteByte(' ')
			}
			blank = false
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			out.WriteByte(c)
		}
	}
	return out.String()
}

// plain is a name that means the same without quotes.
var plain = regexp.MustCompile(`^[a-z_][a-z0-9_$]*$`)

// unquoted gives a quoted name without its quotes where they change nothing.
// "char" is a type of its own, and "bit" and "bpchar" are those without length.
func unquoted(quoted string) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`)
	if plain.MatchString(inner) && inner != "char" && inner != "bit" && inner != "bpchar" {
		return inner
	}
	return quoted
}
