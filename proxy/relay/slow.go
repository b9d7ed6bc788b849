package relay

import (
	"math/rand/v2"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/statement"
)

// slowLog is which queries are logged, and how.
type slowLog struct {
	on     bool
	least  time.Duration
	rate   float64 // part of them, 0 to 1
	text   string  // general.log_query_text
	length int     // bytes of it
}

func newSlowLog(g config.General) slowLog {
	l := slowLog{on: g.LogMinDurationQuery != nil, rate: g.LogQuerySampleRate, text: g.LogQueryText, length: g.LogQuerySampleLength}
	if l.on {
		l.least = *g.LogMinDurationQuery
	}
	return l
}

// runs keeps the text of a query that is about to be sent. Of those that are sent
// together it is the first; the others are logged without. mu is held.
func (s *session) runs(sql []byte) {
	l := &s.limits.slow
	if !l.on || l.text == "none" || s.pending.ready > 0 || len(s.running) > 0 {
		return
	}
	s.running = append(s.running, sql[:min(len(sql), l.length)]...)
}

// textBehind is the text of a statement that the client has prepared; nil if it is not
// kept. mu is held.
func (s *session) textBehind(name []byte) []byte {
	if e := s.names[string(name)]; e != nil && (len(name) > 0 || s.limits.nameUnnamed) {
		return textOf(e.prepared.body)
	}
	if len(name) == 0 && s.unnamed.kept {
		return textOf(s.unnamed.body)
	}
	return nil
}

// logSlow logs the query that has ended, if it took long enough and is of the
// sample. mu is held.
func (s *session) logSlow(took int64) {
	l := &s.limits.slow
	if !l.on {
		return
	}
	text := string(s.running)
	if s.running = s.running[:0]; cap(s.running) > 1024 {
		s.running = nil
	}
	duration := time.Duration(took)
	if duration < l.least || rand.Float64() >= l.rate {
		return
	}
	attributes := []any{"duration", duration.Round(time.Microsecond), "server_pid", s.server.ProcessID()}
	if l.text == "masked" {
		text = statement.Mask([]byte(text))
	}
	if text != "" {
		attributes = append(attributes, "query", text)
	}
	s.log.Info("slow query", attributes...)
}
