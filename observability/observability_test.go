package observability

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/metrics"
)

// read reads a file.
func read(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// dashboard is what is looked at of Grafana's format.
type dashboard struct {
	Title, UID string
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []panel
}

type source struct{ Type, UID string }

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	GridPos                  struct{ H, W, X, Y int }
	Targets                  []struct {
		RefID, Expr string
		Datasource  source
	}
}

func readDashboard(tb testing.TB) dashboard {
	tb.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(tb, "dashboard.json")), &d); err != nil {
		tb.Fatal(err)
	}
	return d
}

// ofOurs finds names of metrics.
var ofOurs = regexp.MustCompile(metrics.DefaultNamespace + `_([a-z_]+)`)

// TestMetricsExist: every metric that dashboard and rules use is one that the
// program has, and none that it has is used by neither.
func TestMetricsExist(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, d := range metrics.Describe() {
		known[d.Name] = true
		if d.Type == "histogram" {
			known[d.Name+"_bucket"], known[d.Name+"_sum"], known[d.Name+"_count"] = true, true, true
		}
	}
	used := map[string]bool{}
	for _, path := range []string{"dashboard.json", "alerts.yaml", "alerts_test.yaml"} {
		for _, found := range ofOurs.FindAllStringSubmatch(strings.ReplaceAll(read(t, path), "pgdrover_shop_0", ""), -1) {
			if !known[found[1]] {
				t.Errorf("%s uses %s, which is no metric", path, found[0])
			}
			used[strings.TrimSuffix(found[1], "_bucket")] = true
		}
	}
	for _, d := range metrics.Describe() {
		if !used[d.Name] {
			t.Errorf("%s is in no panel and no rule", d.Name)
		}
	}
}

// TestDashboard looks at the structure of the dashboard.
func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	want := source{"prometheus", "${datasource}"}
	if d.Title == "" || d.UID == "" || len(d.Panels) == 0 {
		t.Fatalf("title %q, uid %q, %d panels", d.Title, d.UID, len(d.Panels))
	}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name+" "+v.Type)
	}
	if !slices.Equal(variables, []string{"datasource datasource", "instance query", "mirror query"}) {
		t.Errorf("the variables are %v", variables)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d, %q: its number is taken, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, there := taken[[2]int{x, y}]; there || x >= 24 {
					t.Fatalf("%s lies over %s, or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.Datasource != want || len(p.Targets) == 0 {
			t.Errorf("%s: description %q, data source %v, %d queries", p.Title, p.Description, p.Datasource, len(p.Targets))
		}
		for _, q := range p.Targets {
			if q.Datasource != want || q.Expr == "" || q.RefID == "" || !strings.Contains(q.Expr, `instance=~"$instance"`) {
				t.Errorf("%s, %s: %v: %s", p.Title, q.RefID, q.Datasource, q.Expr)
			}
		}
	}
}

// alertNames are the alerts of the rules, in their order.
func alertNames(tb testing.TB) []string {
	tb.Helper()
	var out []string
	for _, found := range regexp.MustCompile(`(?m)^      - alert: (\w+)$`).FindAllStringSubmatch(read(tb, "alerts.yaml"), -1) {
		out = append(out, found[1])
	}
	if len(out) == 0 {
		tb.Fatal("there are no alerts")
	}
	return out
}

// TestAlertsAreTold: each alert has examples of both kinds, and a section that
// says what to do, with commands that there are.
func TestAlertsAreTold(t *testing.T) {
	t.Parallel()
	examples, page := read(t, "alerts_test.yaml"), read(t, "../docs/observability.md")
	rules := read(t, "alerts.yaml")
	var titles []string
	for _, found := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(page, -1) {
		titles = append(titles, found[1])
	}
	names := alertNames(t)
	if !slices.Equal(titles, sortedAs(titles, names)) || len(titles) != len(names) {
		t.Errorf("the page tells of %v, the alerts are %v", titles, names)
	}
	for _, name := range names {
		for _, kind := range []string{"fires", "does not fire"} {
			if strings.Count(examples, "  - name: "+name+" "+kind+"\n") != 1 {
				t.Errorf("there is no example, or more than one, of how %s %s", name, kind)
			}
		}
		if !strings.Contains(rules, "runbook: docs/observability.md#"+strings.ToLower(name)+"\n") {
			t.Errorf("%s does not name its section", name)
		}
		_, section, _ := strings.Cut(page, "### "+name+"\n")
		section, _, _ = strings.Cut(section, "\n### ")
		severity := regexp.MustCompile(`alert: ` + name + `\n(?:.*\n)*?          severity: (\w+)`).FindStringSubmatch(rules)
		if severity == nil || !strings.HasPrefix(section, "\n*"+severity[1]+".* ") || !strings.Contains(section, "\n- ") {
			t.Errorf("the section of %s does not begin with its severity %v, or says nothing to do", name, severity)
		}
	}
	command := regexp.MustCompile("`((?:SHOW|PAUSE|RESUME|RETRY|ALTER|DROP|CREATE) MIRROR|SHOW [A-Z_]+|RESYNC|PROBE)\\b[^`]*;`")
	known := map[string]bool{}
	for _, c := range admin.Reference() {
		known[c.Name] = true
	}
	found := command.FindAllStringSubmatch(page, -1)
	if len(found) < 20 {
		t.Errorf("%d commands are found in the page", len(found))
	}
	for _, c := range found {
		if !known[c[1]] {
			t.Errorf("the page has %s, which is no command", c[0])
		}
	}
}

// sortedAs gives those of names that are in titles.
func sortedAs(titles, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(titles, name) })
}
