package relay

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The Syncs that a copy swallows are those sent between it and its end.
func TestSyncsThatACopyIgnores(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sent, left []expectationKind
		ended      bool
	}{
		"simple":           {[]expectationKind{expectQuery}, []expectationKind{expectQuery}, false},
		"simple, all sent": {[]expectationKind{expectQuery, copyEnded}, []expectationKind{expectQuery, copyEnded}, true},
		"extended":         {[]expectationKind{expectExecute, expectSync}, []expectationKind{expectExecute}, false},
		"extended, all sent": {[]expectationKind{expectExecute, expectSync, copyEnded, expectSync},
			[]expectationKind{expectExecute, copyEnded, expectSync}, true},
		"another behind": {[]expectationKind{expectExecute, copyEnded, expectSync, expectParse, expectSync},
			[]expectationKind{expectExecute, copyEnded, expectSync, expectParse, expectSync}, true},
	} {
		var q expectations
		for _, k := range test.sent {
			q.push(expectation{kind: k})
		}
		ended := q.ignoreSyncs()
		var left []expectationKind
		ready := 0
		for !q.empty() {
			if q.front().kind.needsReady() {
				ready++
			}
			if q.ready < 1 && q.front().kind.needsReady() {
				t.Errorf("%s: ReadyForQuery is counted wrong", name)
			}
			left = append(left, q.pop().kind)
		}
		if ended != test.ended || !slices.Equal(left, test.left) || q.ready != 0 {
			t.Errorf("%s: ended %v, left %v, %d", name, ended, left, q.ready)
		}
	}
}

// The queue gives what was put in, in its order, whatever its length.
func TestExpectationsAreAQueue(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	var q expectations
	var model []expectationKind
	for range 20_000 {
		if random.IntN(100) < 55 && len(model) < 300 {
			k := expectationKind(random.IntN(int(copyEnded) + 1))
			q.push(expectation{kind: k})
			model = append(model, k)
		} else if len(model) > 0 {
			if got := q.pop().kind; got != model[0] {
				t.Fatalf("%d came instead of %d", got, model[0])
			}
			model = model[1:]
		}
		ready := 0
		for _, k := range model {
			if k.needsReady() {
				ready++
			}
		}
		if q.n != len(model) || q.ready != ready || q.empty() != (len(model) == 0) {
			t.Fatalf("%d expectations, %d ready; want %d, %d", q.n, q.ready, len(model), ready)
		}
	}
}

func TestOptionsOfTheStartupMessage(t *testing.T) {
	t.Parallel()
	got, err := parseOptions(`-c work_mem=1MB --search-path=a,b  -cDateStyle=German -c app.x=with\ space\\`)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"work_mem": "1MB", "search_path": "a,b", "DateStyle": "German", "app.x": `with space\`} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	for _, wrong := range []string{"-x", "-c", "-c a", "--a", "word"} {
		if _, err := parseOptions(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add(`-c a=b --c-d=e\ f`)
	f.Add(`\`)
	f.Fuzz(func(_ *testing.T, options string) {
		_, _ = parseOptions(options) // it must only not fail otherwise
	})
}
