package ledger

import (
	"fmt"
	"os"
	"path/filepath"
)

// testdata reads a file of integration/testdata. It is looked for above the
// working directory, which for a test is the directory of its package.
func testdata(name string) (string, error) {
	directory, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for start := directory; ; {
		if _, err := os.Stat(filepath.Join(directory, "go.mod")); err == nil {
			break
		}
		above := filepath.Dir(directory)
		if above == directory {
			return "", fmt.Errorf("find the test data: there is no go.mod above %s", start)
		}
		directory = above
	}
	content, err := os.ReadFile(filepath.Join(directory, "integration", "testdata", name))
	return string(content), err
}
