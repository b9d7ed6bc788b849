package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/pgdrover/pgdrover/pgcluster/tempdir"
	"github.com/pgdrover/pgdrover/pgerror"
)

// StandbyOptions describe a streaming standby. The zero value is a good one.
type StandbyOptions struct {
	// Settings are those of postgresql.conf; they come after those of the primary
	// and win.
	Settings map[string]string
}

// StartStandby makes a standby of a running cluster, on a free port, and starts
// it: it takes read-only connections when StartStandby returns. It streams by a
// physical slot of its own on the primary, with hot_standby_feedback, and can
// be promoted (SELECT pg_promote()). The caller calls Close; the slot stays.
func (c *Cluster) StartStandby(ctx context.Context, options StandbyOptions) (*Cluster, error) {
	if c.options.SSL {
		return nil, pgerror.New(pgerror.FeatureNotSupported, "a standby of a cluster with TLS is not supported")
	}
	o := c.options
	o.Port, o.Settings = 0, maps.Clone(c.options.Settings)
	if o.Settings == nil {
		o.Settings = map[string]string{}
	}
	maps.Copy(o.Settings, options.Settings)
	parent, err := o.parent(c.account)
	if err != nil {
		return nil, err
	}
	dir, err := tempdir.New(parent, dirPrefix)
	if err != nil {
		return nil, err
	}
	standby := &Cluster{options: o, account: c.account, dir: dir}
	if err = standby.createFrom(ctx, c); err == nil {
		err = standby.firstStart(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a standby of %s: %w", o.Installation, err), standby.Close())
	}
	return standby, nil
}

// createFrom copies a running primary's data directory and has it follow there.
func (c *Cluster) createFrom(ctx context.Context, primary *Cluster) error {
	o, data := c.options, c.dataDir()
	if err := c.account.chown(c.dir.Path()); err != nil {
		return err
	}
	slot := "standby_" + strings.Map(slotLetter, filepath.Base(c.dir.Path()))
	conninfo := fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", primary.Host(), primary.Port(), superuser)
	if o.SuperuserPassword != "" {
		conninfo += " password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(o.SuperuserPassword) + "'"
	}
	out, err := o.run(ctx, c.account, "", "pg_basebackup", "-D", inside(o.Installation.Root, data), "-d", conninfo,
		"--checkpoint=fast", "--wal-method=stream", "--no-sync", "--create-slot", "--slot="+slot)
	if err != nil {
		return pgerror.New(pgerror.SystemError, "pg_basebackup of %s failed: %w", o.Installation, err).WithDetail("%s", out)
	}
	settings := map[string]string{
		"primary_conninfo": conninfo + " application_name=" + slot, "primary_slot_name": slot, "hot_standby": "on", "hot_standby_feedback": "on",
		"wal_receiver_status_interval": "1s",
	}
	maps.Copy(settings, o.Settings)
	o.Settings = settings
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString(o.configuration(inside(o.Installation.Root, c.dir.Path())))
	signal := filepath.Join(data, "standby.signal")
	return errors.Join(err, conf.Close(), os.WriteFile(signal, nil, 0o600), c.account.chown(signal))
}

// slotLetter keeps what the name of a replication slot may have.
func slotLetter(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		return r
	case r >= 'A' && r <= 'Z':
		return r + 'a' - 'A'
	}
	return '_'
}
