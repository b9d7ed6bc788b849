package mapping_test

import (
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
