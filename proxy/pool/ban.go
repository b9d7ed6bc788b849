package pool

import "time"

// ban keeps a replica from taking reads.
type ban struct {
	reason string
	since  int64
	until  int64 // instant; 0 is until UNBAN
}

func (b *ban) manual() bool { return b.until == 0 }

func (b *ban) over(now int64) bool { return b.until != 0 && now >= b.until }

// banFor bans a replica for general.ban_timeout. p.mu is held.
func (p *pool) banFor(t *target, reason string, now int64) {
	if t.ban != nil || p.settings.banTimeout <= 0 {
		return
	}
	t.ban = &ban{reason: reason, since: now, until: now + int64(p.settings.banTimeout)}
	p.pools.log.Warn("a replica is banned", "database", p.key.Database, "user", p.key.User, "server", t.name,
		"reason", reason, "for", p.settings.banTimeout.Round(time.Millisecond))
	p.reroute(now)
}
