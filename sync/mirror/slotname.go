package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/config"
)

// slotPrefix begins the names of all slots that pgdrover makes.
const slotPrefix = "pgdrover_"

// slotName is the name of a mirror's slot on one source shard: slots are the
// whole server's, so that it tells apart mirrors of one name into different
// destinations. PostgreSQL allows 63 lower-case letters, digits and underscores.
func slotName(mirror string, destination config.Server, shard int) string {
	sum := sha256.Sum256([]byte(mirror + "\x00" + destination.Address() + "\x00" + destination.Database))
	return fmt.Sprintf("%s%.30s_%s_%d", slotPrefix, plain(mirror), hex.EncodeToString(sum[:4]), shard)
}

// partSlotName names a slot for tables that are copied for themselves. own is
// what slotName gives: at most 51 bytes.
func partSlotName(own, suffix string) string { return own + "_" + suffix }

// plain keeps what a slot's name may have.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, name)
}
