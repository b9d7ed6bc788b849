package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// hashCommand prints a password's verifier.
type hashCommand struct {
	Password string `arg:"" optional:"" help:"The password; read from the terminal or standard input if it is not given, so that no process list shows it."`
}

// Run is kong's.
func (h hashCommand) Run(s *streams) error {
	password := h.Password
	if password == "" {
		var err error
		if password, err = readPassword(s); err != nil {
			return pgerror.New(pgerror.SystemError, "read the password: %w", err)
		}
	}
	if password == "" {
		return pgerror.New(pgerror.InvalidParameterValue, "the password is empty").WithHint("pgdrover hash; then type it, or pipe it in")
	}
	verifier, err := auth.NewVerifier(password)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, verifier.Text())
	return nil
}

func readPassword(s *streams) (string, error) {
	if f, ok := s.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(s.err, "Password: ")
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.err)
		return string(text), err
	}
	line, err := bufio.NewReader(s.in).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil // the last line may have no end, or there is none
	}
	return strings.TrimRight(line, "\r\n"), err
}
