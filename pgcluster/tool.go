package pgcluster

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// toolsDir is where the wrappers of a root's client programs are, inside it.
const toolsDir = "pgdrover-tools"

// Tool gives the path of a client program (pg_dump, psql, pg_restore, pgbench …)
// that can be called by anything.
//
// For the machine's own PostgreSQL it is the program. For one in a root it is a
// wrapper script, made on first use: it runs the program through the root's own
// dynamic linker and libraries, but outside of it, so that file names,
// certificates, sockets, PG* variables, standard input and output are the
// caller's. (A chroot would hide the caller's files.) Programs that start
// others beside them (initdb, pg_ctl, pg_dumpall, pg_upgrade) do not work so.
func (i Installation) Tool(name string) (string, error) {
	program := filepath.Join(i.Root, i.BinDir, name)
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("%s has no %s: %w", i, name, err)
	}
	if i.Root == "" {
		return program, nil
	}
	wrapper := filepath.Join(i.Root, toolsDir, name)
	text, err := wrapperText(i.Root, program)
	if err != nil {
		return "", fmt.Errorf("make a wrapper of %s: %w", program, err)
	}
	if old, err := os.ReadFile(wrapper); err == nil && string(old) == text {
		return wrapper, nil
	}
	if err := writeExecutable(wrapper, text); err != nil {
		return "", fmt.Errorf("make a wrapper of %s: %w", program, err)
	}
	return wrapper, nil
}

func wrapperText(root, program string) (string, error) {
	linker, err := interpreter(program)
	if err != nil {
		return "", err
	}
	libraries := []string{}
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib64", "usr/lib"} {
		libraries = append(libraries, glob(filepath.Join(root, pattern))...)
	}
	return fmt.Sprintf("#!/bin/sh\nexec %s --argv0 %s --library-path %s %s \"$@\"\n",
		shellQuote(filepath.Join(root, linker)), shellQuote(program),
		shellQuote(strings.Join(libraries, ":")), shellQuote(program)), nil
}

// interpreter reads the dynamic linker's path from an ELF file.
func interpreter(program string) (string, error) {
	file, err := elf.Open(program)
	if err != nil {
		return "", err
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			text, err := io.ReadAll(io.LimitReader(segment.Open(), 4096))
			return strings.TrimRight(string(text), "\x00"), err
		}
	}
	return "", errors.New("the program names no dynamic linker")
}

// writeExecutable replaces path in one step: another process may be running it.
func writeExecutable(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Chmod(0o755), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		if rmErr := os.Remove(file.Name()); !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	return err
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
