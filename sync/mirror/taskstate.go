package mirror

import "fmt"

// TaskState is where a task is. The words are those of SHOW TASKS.
type TaskState string

// The states of a task.
const (
	Pending     TaskState = "pending"     // recorded, not started
	Running     TaskState = "running"     //
	Cancelling  TaskState = "cancelling"  // STOP_TASK was asked; statements in flight are being ended
	Restarting  TaskState = "restarting"  // it is being ended, to be started anew with other settings
	Finished    TaskState = "finished"    // every statement done, existed, or failed and ignored
	Failed      TaskState = "failed"      // ended by an error
	Cancelled   TaskState = "cancelled"   // ended by STOP_TASK or SHUTDOWN
	Interrupted TaskState = "interrupted" // its process is gone; the same command goes on from there
)

// taskTransitions is the table of what may follow what.
var taskTransitions = map[TaskState][]TaskState{
	Pending:    {Running, Cancelled, Failed, Interrupted},
	Running:    {Cancelling, Restarting, Finished, Failed, Cancelled, Interrupted},
	Cancelling: {Cancelled, Finished, Failed, Interrupted},
	Restarting: {Cancelling, Finished, Failed, Cancelled, Interrupted},
}

// TaskStates lists every state, in the order a task can pass them.
func TaskStates() []TaskState {
	return []TaskState{Pending, Running, Restarting, Cancelling, Finished, Failed, Cancelled, Interrupted}
}

// Ended tells whether no other state can follow.
func (s TaskState) Ended() bool { return len(taskTransitions[s]) == 0 }

// To is the one transition function: it gives next, or an error when the table
// does not allow it.
func (s TaskState) To(next TaskState) (TaskState, error) {
	for _, allowed := range taskTransitions[s] {
		if allowed == next {
			return next, nil
		}
	}
	return s, fmt.Errorf("task state cannot go from %q to %q", s, next)
}
