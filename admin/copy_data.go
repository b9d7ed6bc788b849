package admin

import (
	"context"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

var copyDataColumns = []Column{
	{"task_id", Text, "number of the task that was started: for WAIT, STOP_TASK, SHOW TASKS"},
	{"replication_slot", Text, "slot on the source; with several source shards, what their slots' names begin with before _<shard>"},
}

// runCopyData is COPY_DATA.
func runCopyData(ctx context.Context, c *console, call call) (result, error) {
	request, err := copyDataRequest(call)
	if err != nil {
		return result{}, err
	}
	request.SkipSchema, request.SyncOnly = call.options["SKIP SCHEMA"], call.options["SYNC ONLY"]
	started, err := c.server.options.Engine.CopyData(ctx, request)
	c.warn(started.Warnings)
	if err != nil {
		return result{}, err
	}
	return result{rows: [][]any{{taskNumber(started.Task), orNull(baseSlot(started.Slots))}}}, nil
}

func copyDataRequest(call call) (mirror.CopyDataRequest, error) {
	names, err := call.texts("source", "destination", "publication", "slot")
	if err != nil {
		return mirror.CopyDataRequest{}, err
	}
	return mirror.CopyDataRequest{Source: names[0], Destination: names[1], Publication: names[2], Slot: names[3]}, nil
}

// baseSlot is what the slots of a task have in common: one slot's whole name,
// or what stands before the numbers of the shards.
func baseSlot(slots []string) string {
	if len(slots) == 0 {
		return ""
	}
	if len(slots) == 1 {
		return slots[0]
	}
	if i := strings.LastIndexByte(slots[0], '_'); i > 0 && strings.Trim(slots[0][i+1:], "0123456789") == "" {
		return slots[0][:i]
	}
	return slots[0]
}

func taskNumber(id mirror.TaskID) string { return strconv.FormatInt(int64(id), 10) }
