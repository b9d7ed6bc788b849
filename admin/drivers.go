package admin

// driverTable has what clients and drivers send by themselves: statements of a
// session rather than commands of an operator.
func driverTable() []*command {
	table := []*command{
		{syntax: "BEGIN ...", name: "BEGIN", run: runBegin},
		{syntax: "START TRANSACTION ...", name: "START TRANSACTION", run: runBegin},
		{syntax: "{COMMIT|END} [WORK|TRANSACTION] [AND CHAIN] [AND NO CHAIN]", name: "COMMIT", run: runCommit},
		{syntax: "{ROLLBACK|ABORT} [WORK|TRANSACTION] [AND CHAIN] [AND NO CHAIN]", name: "ROLLBACK", run: runRollback},
		{syntax: "ROLLBACK [WORK|TRANSACTION] TO [SAVEPOINT] <savepoint>", name: "ROLLBACK TO", tag: "ROLLBACK", run: runRollbackTo},
		{syntax: "SAVEPOINT <savepoint>", run: runSavepoint},
		{syntax: "RELEASE [SAVEPOINT] <savepoint>", run: runRelease},

		{syntax: "SET [SESSION|LOCAL] <parameter> {TO|=} <value>", name: "SET", run: runSetParameter},
		{syntax: "SET [SESSION|LOCAL] TIME ZONE <value>", name: "SET", run: runSetTimeZone},
		{syntax: "SET NAMES <value>", name: "SET", run: runSetNames},
		{syntax: "SET SESSION CHARACTERISTICS AS TRANSACTION ...", name: "SET", run: runNothing},
		{syntax: "SET TRANSACTION ...", name: "SET", run: runNothing},
		{syntax: "SET [SESSION|LOCAL] SESSION AUTHORIZATION DEFAULT", name: "SET", run: runNothing},
		{syntax: "SET [SESSION|LOCAL] ROLE NONE", name: "SET", run: runNothing},
		{syntax: "RESET ALL", name: "RESET", run: runResetAll},
		{syntax: "RESET SESSION AUTHORIZATION", name: "RESET", run: runNothing},
		{syntax: "RESET ROLE", name: "RESET", run: runNothing},
		{syntax: "RESET <parameter>", name: "RESET", run: runResetParameter},

		{syntax: "SHOW ALL", columns: showAllColumns, tag: "SHOW", run: runShowAll},
		{syntax: "SHOW TRANSACTION ISOLATION LEVEL", tag: "SHOW", columns: []Column{{Name: "transaction_isolation", Type: Text}}, run: runShowParameter},
		{syntax: "SHOW TIME ZONE", tag: "SHOW", columns: []Column{{Name: "TimeZone", Type: Text}}, run: runShowParameter},
		{syntax: "SHOW SESSION AUTHORIZATION", tag: "SHOW", columns: []Column{{Name: "session_authorization", Type: Text}}, run: runShowParameter},
		{syntax: "SHOW <parameter>", tag: "SHOW", describe: describeShowParameter, run: runShowParameter},

		{syntax: "DISCARD ALL", run: runDiscardAll},
		{syntax: "DISCARD {PLANS|SEQUENCES|TEMP|TEMPORARY}", name: "DISCARD", run: runNothing},
		{syntax: "DEALLOCATE [PREPARE] ALL", name: "DEALLOCATE ALL", run: runDeallocateAll},
		{syntax: "DEALLOCATE [PREPARE] <statement>", run: runDeallocate},
		{syntax: "CLOSE ALL", name: "CLOSE CURSOR ALL", run: runNothing},
		{syntax: "UNLISTEN ...", name: "UNLISTEN", run: runNothing},

		{syntax: "SELECT ...", name: "SELECT", describe: describeSelect, run: runSelect},
	}
	for _, c := range table {
		c.internal, c.role = true, Reader
	}
	return table
}
