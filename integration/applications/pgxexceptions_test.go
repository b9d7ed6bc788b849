package applications

// pgxExceptions are the tests of pgx that fail through session mode, and why. The
// process id that a client is told is pgdrover's: cancel requests need it, and a
// session may get another server connection. These tests hand it to the server.
var pgxExceptions = map[string]string{
	".TestFatalRxError": "pg_terminate_backend of the process id that the client was told",
	".TestFatalTxError": "pg_terminate_backend of the process id that the client was told",

	"pgconn.TestConnPing":                    "pg_terminate_backend of the process id that the client was told",
	"pgconn.TestConnCheckConn":               "pg_terminate_backend of the process id that the client was told",
	"pgxpool.TestPoolAcquireChecksIdleConns": "pg_terminate_backend of the process ids that the clients were told",
	"stdlib.TestCheckIdleConn":               "pg_terminate_backend of the process ids that the clients were told",

	"pgconn.TestConnectProtocolVersion32": "pgdrover speaks 3.2, with long keys, also before a server that does not; the test goes by the server's version",
}
