package pgcluster

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/pgdrover/pgdrover/pgerror"
)

// account is who runs the server: PostgreSQL refuses to run as root.
type account struct {
	change   bool // this process is root, the server's is another
	uid, gid uint32
}

// serverAccount is the user postgres, of the installation's root if it has one,
// when this process is root; else the user of this process.
func serverAccount(inst Installation) (account, error) {
	if os.Getuid() != 0 {
		if inst.Root != "" {
			return account{}, pgerror.New(pgerror.InsufficientPrivilege, "%s needs root: it is run by chroot", inst)
		}
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		uid, gid, err := lookup(inst.Root, name)
		if err == nil && uid != 0 {
			return account{change: true, uid: uid, gid: gid}, nil
		}
	}
	return account{}, pgerror.New(pgerror.InsufficientPrivilege, "PostgreSQL cannot run as root, and there is no user postgres").
		WithHint("Make one: useradd --system postgres")
}

// lookup reads the passwd file of a root itself, for the machine's own it asks the system.
func lookup(root, name string) (uid, gid uint32, err error) {
	var uidText, gidText string
	if root == "" {
		u, err := user.Lookup(name)
		if err != nil {
			return 0, 0, err
		}
		uidText, gidText = u.Uid, u.Gid
	} else {
		passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(passwd)) {
			if f := strings.Split(line, ":"); len(f) >= 4 && f[0] == name {
				uidText, gidText = f[2], f[3]
			}
		}
	}
	u, err := strconv.ParseUint(uidText, 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("find the user %s: %w", name, err)
	}
	g, err := strconv.ParseUint(gidText, 10, 32)
	return uint32(u), uint32(g), err
}

// chown gives path to the account; nothing to do when that is this process's user.
func (a account) chown(path string) error {
	if !a.change {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// reaches reports whether the account may pass through all directories above and including dir.
func (a account) reaches(dir string) bool {
	if !a.change {
		return true
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		owner := ok && stat.Uid == a.uid && info.Mode()&0o100 != 0
		group := ok && stat.Gid == a.gid && info.Mode()&0o010 != 0
		if !owner && !group && info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// attributes are those of a process run by the account: a group of its own, so
// that a terminal's Ctrl-C reaches this process alone, which then stops it.
func (a account) attributes(root string) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Chroot: root}
	if a.change {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}
