package relay

import "github.com/pgdrover/pgdrover/proxy/wire"

// shown is what SHOW CLIENTS tells of a session beside its statistics.
type shown struct {
	application string
	prepared    int
	locked      bool
}

// show has operators see what the session is like: it is called at each sweep, so
// that no query pays for it.
func (s *session) show() {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := shown{
		application: s.login.ApplicationName, prepared: len(s.names),
		locked: s.server != nil && (!s.shared || s.lasting != 0),
	}
	if name, ok := s.told.get("application_name"); ok {
		is.application = name
	}
	if s.unnamed.generation != 0 {
		is.prepared++
	}
	if is != s.shown {
		s.shown = is
		s.client.Describe(is.application, is.prepared, is.locked)
	}
	if s.server != nil {
		s.showServer()
		s.server.Record()
	}
}

// showServer notes what SHOW SERVERS tells of the server connection. mu is held.
func (s *session) showServer() {
	is := &s.server.Shown
	is.Prepared = len(s.slot.prepared.at)
	if !s.shared {
		is.Prepared = len(s.names)
	}
	is.LastSent, is.LastReceived = s.lastSent, s.lastReceived
	is.IdleInTransaction = s.status != wire.Idle && s.pending.empty()
	if s.slot.named != s.slot.reports {
		s.slot.named = s.slot.reports
		is.ApplicationName, _ = s.slot.reports.get("application_name")
	}
}
