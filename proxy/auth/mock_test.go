package auth

import (
	"bytes"
	"fmt"
	"testing"
)

// TestStrangersCannotTellWhoExists: a user who does not exist is asked as those
// are who do.
func TestStrangersCannotTellWhoExists(t *testing.T) {
	t.Parallel()
	a := New()
	count := func() (iterations, methods map[string]int) {
		iterations, methods = map[string]int{}, map[string]int{}
		for i := range 200 {
			mock := a.mock(fmt.Sprint("user ", i))
			again := a.mock(fmt.Sprint("user ", i))
			if !bytes.Equal(mock.salt, again.salt) || mock.iterations != again.iterations || mock.looksLike != again.looksLike {
				t.Fatal("a user is asked another way each time")
			}
			iterations[fmt.Sprint(mock.iterations)]++
			methods[fmt.Sprint(mock.looksLike)]++
		}
		return iterations, methods
	}
	iterations, methods := count()
	if len(iterations) != 1 || iterations["4096"] == 0 || len(methods) != 1 {
		t.Errorf("without verifiers: %v, %v", iterations, methods)
	}
	for _, n := range []int{4096, 10_000, maxMockIterations + 1} {
		v, err := BuildVerifier("p", []byte("salt"), n)
		if err != nil {
			t.Fatal(err)
		}
		a.Expect(v.Text())
	}
	a.Expect("md5" + "00000000000000000000000000000000")
	iterations, methods = count()
	if len(iterations) != 2 || iterations["4096"] < 20 || iterations["10000"] < 20 || methods["true"] < 20 || methods["false"] < 20 {
		t.Errorf("with verifiers: %v, %v", iterations, methods)
	}
	// Those without a hash look like them, those with one as it says.
	stored, err := BuildVerifier("p", []byte("salt"), 7)
	if err != nil {
		t.Fatal(err)
	}
	for name, account := range map[string]func() (*Account, error){
		"plain": func() (*Account, error) { return a.NewAccount("user 1", []string{"p"}, "") },
		"none":  func() (*Account, error) { return a.NewAccount("user 1", nil, "") },
	} {
		got, err := account()
		if mock := a.mock("user 1"); err != nil || !bytes.Equal(got.salt, mock.salt) || got.iterations != mock.iterations {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := a.NewAccount("user 1", nil, stored.Text()); err != nil || got.iterations != 7 {
		t.Errorf("%v, %v", got, err)
	}
	for i := range 100 {
		a.expect(i + 1)
	}
	if len(a.iterations) != maxIterationCounts {
		t.Errorf("%d iteration counts are kept", len(a.iterations))
	}
}
