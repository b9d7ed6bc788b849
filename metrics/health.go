package metrics

import (
	"net/http"
	"strings"
)

// Health tells whether clients should be sent to this process.
type Health struct {
	Ready   bool
	Reasons []string // why not, or what is wrong although it is; one line each
}

// Healthy sets who is asked at /ready; before the endpoint is opened.
func (m *Metrics) Healthy(ask func() Health) {
	if m != nil {
		m.ask = ask
	}
}

// health answers /ready: 200, or 503 with the reasons.
func (m *Metrics) health(w http.ResponseWriter) {
	h := Health{Reasons: []string{"nobody tells"}}
	if m.ask != nil {
		h = m.ask()
	}
	status, word := http.StatusServiceUnavailable, "not ready"
	if h.Ready {
		status, word = http.StatusOK, "ready"
	}
	answer(w, status, append([]string{word}, h.Reasons...)...)
}

func answer(w http.ResponseWriter, status int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(strings.Join(lines, "\n") + "\n")) // who asked may be gone
}
