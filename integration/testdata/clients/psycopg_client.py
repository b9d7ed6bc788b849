"""The admin database by psycopg 3. DSN and TASK, a finished task, are in the environment."""
import os

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

dsn, task = os.environ["DSN"], os.environ["TASK"]


def check(what, got, want):
    if got != want:
        raise SystemExit(f"{what}: got {got!r}, want {want!r}")


def statements(conn):
    check("text parameter", conn.execute("WAIT %s", [task]).fetchone()[:2], (task, "finished"))
    check("integer parameter", conn.execute("WAIT %s", [int(task)]).fetchone()[:2], (task, "finished"))
    check("binary parameter", conn.execute("WAIT %b", [int(task)]).fetchone()[:2], (task, "finished"))
    tasks = conn.cursor(row_factory=dict_row).execute("SHOW TASKS").fetchall()
    check("types", [type(tasks[0][c]) for c in ("id", "status", "percent")], [int, str, float])
    binary = conn.cursor(binary=True, row_factory=dict_row).execute("SHOW TASKS").fetchall()
    volatile = {"elapsed", "elapsed_ms"}
    check("binary results", [{k: r[k] for k in r.keys() - volatile} for r in binary],
          [{k: r[k] for k in r.keys() - volatile} for r in tasks])
    for _ in range(8):  # prepares the statement on its own
        check("prepared", conn.execute("SHOW VERSION", prepare=True).fetchone()[0][:9], "pgdrover ")
    with psycopg.ClientCursor(conn) as cursor:
        check("client-side binding", cursor.execute("WAIT %s", [task]).fetchone()[1], "finished")
        cursor.execute("SHOW VERSION; SHOW SERVER_VERSION")
        check("second result", (cursor.nextset(), cursor.fetchone()[0][:5]), (True, "14.0 "))
    try:
        conn.execute("STOP_TASK %s", [99999])
        raise SystemExit("STOP_TASK 99999 succeeded")
    except errors.UndefinedObject as e:
        check("message", e.diag.message_primary, "there is no task 99999")
        check("hint", e.diag.message_hint is not None, True)
    conn.rollback()
    check("after an error", conn.execute("SELECT 1").fetchone(), (1,))


for autocommit in (True, False):
    with psycopg.connect(dsn, autocommit=autocommit) as conn:
        check("server_version", conn.info.server_version, 140000)
        check("encoding", conn.info.encoding, "utf-8")
        statements(conn)
        with conn.transaction():
            check("in a transaction", conn.execute("SHOW VERSION").fetchone()[0][:9], "pgdrover ")

with psycopg.connect(dsn) as conn, conn.pipeline():
    cursors = [conn.execute("SHOW VERSION"), conn.execute("WAIT %s", [task])]
    check("pipeline", [c.fetchone()[0][:9] for c in cursors], ["pgdrover ", task])
print("done")
