"""An application that uses psycopg 3."""
import threading
import time

import psycopg
from psycopg import errors

from proxied import STATEMENT, check, restart


def connect(**more):
    return psycopg.connect("", autocommit=True, application_name="psycopg", **more)


def transactions(conn):
    if STATEMENT:
        try:
            conn.execute("BEGIN")
            raise SystemExit("statement mode allows a transaction")
        except errors.FeatureNotSupported:
            pass
        check("after a refused BEGIN", conn.execute("SELECT 1").fetchone(), (1,))
        return
    with conn.transaction():
        conn.execute("INSERT INTO p (id, t) VALUES (1, 'one')")
        try:
            with conn.transaction():  # a savepoint
                conn.execute("INSERT INTO p (id, t) VALUES (1, 'twice')")
            raise SystemExit("a duplicate was accepted")
        except errors.UniqueViolation as e:
            check("constraint", e.diag.constraint_name, "p_pkey")
        conn.execute("INSERT INTO p (id, t) VALUES (2, 'two')")
    try:
        with conn.transaction():
            conn.execute("DELETE FROM p")
            raise KeyError
    except KeyError:
        pass
    check("rolled back", conn.execute("SELECT count(*) FROM p").fetchone(), (2,))
    conn.execute("DELETE FROM p")


def statements(conn):
    for i in range(20):  # prepared from the sixth on
        conn.execute("INSERT INTO p (id, t) VALUES (%s, %s)", [100 + i, "x" * i * 100], prepare=None)
    for i in range(20):
        check("prepared", conn.execute("SELECT length(t) FROM p WHERE id = %s", [100 + i]).fetchone(), (i * 100,))
    check("binary", conn.execute("SELECT %b::int8[]", [[1, 2, 3]], binary=True).fetchone(), ([1, 2, 3],))
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO p (id, t) VALUES (%s, %s) RETURNING id", [(200 + i, "many") for i in range(50)], returning=True)
        check("executemany", cur.fetchone(), (200,))
    conn.execute("ALTER TABLE p ADD COLUMN more int DEFAULT 7")
    for i in range(8):
        check("after ALTER TABLE", len(conn.execute("SELECT * FROM p WHERE id = %s", [100]).fetchone()), 3)
    with conn.pipeline():
        all = [conn.execute("SELECT %s::int", [i]) for i in range(100)]
        check("pipeline", [c.fetchone()[0] for c in all], list(range(100)))
    try:
        with conn.pipeline():
            conn.execute("SELECT 1")
            conn.execute("SELECT 1/0")
            conn.execute("SELECT 2")
        raise SystemExit("1/0 in a pipeline succeeded")
    except errors.DivisionByZero:
        pass
    for bad, error in [("SELECT 1/0", errors.DivisionByZero), ("SELEC 1", errors.SyntaxError), ("SELECT * FROM nowhere", errors.UndefinedTable)]:
        try:
            conn.execute(bad)
            raise SystemExit(f"{bad} succeeded")
        except error as e:
            check("severity", e.diag.severity, "ERROR")
    notices = []
    conn.add_notice_handler(lambda d: notices.append(d.message_primary))
    conn.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
    check("notice", notices, ["hello"])


def copies(conn):
    with conn.cursor() as cur:
        with cur.copy("COPY p (id, t) FROM STDIN") as copy:
            for i in range(5000):
                copy.write_row((1000 + i, "c" * 200))
        check("COPY in", cur.rowcount, 5000)
        with cur.copy("COPY (SELECT id, t FROM p WHERE id >= 1000) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            check("COPY out", sum(1 for _ in copy.rows()), 5000)
        try:
            with cur.copy("COPY p (id, t) FROM STDIN") as copy:
                for i in range(5000):
                    copy.write_row((1000, "again" * 100))
            raise SystemExit("COPY of duplicates succeeded")
        except errors.UniqueViolation:
            pass
        try:
            with cur.copy("COPY p (id, t) FROM STDIN") as copy:
                copy.write_row((9000, "not to stay"))
                raise KeyError
        except KeyError:
            pass
    check("after an abandoned COPY", conn.execute("SELECT count(*) FROM p WHERE id >= 1000").fetchone(), (5000,))


def cursors(conn):
    if STATEMENT:
        return
    with conn.transaction(), conn.cursor(name="server side") as cur:
        cur.itersize = 100
        cur.execute("SELECT id FROM p WHERE id >= 1000 ORDER BY id")
        check("cursor", sum(1 for _ in cur), 5000)
    with conn.cursor(name="held", withhold=True, scrollable=True) as cur:
        cur.execute("SELECT id FROM p WHERE id >= 1000 ORDER BY id")
        check("cursor that is held", cur.fetchmany(2), [(1000,), (1001,)])
        cur.scroll(100)
        check("scrolled", cur.fetchone(), (1102,))


def settings(conn):
    conn.execute("SET statement_timeout = '33s'")
    conn.execute("SELECT set_config('my.own', 'value', false)")
    for _ in range(5):
        check("SET", conn.execute("SHOW statement_timeout").fetchone(), ("33s",))
    if not STATEMENT:
        check("set_config", conn.execute("SELECT current_setting('my.own')").fetchone(), ("value",))
    conn.execute("RESET ALL")
    check("RESET ALL", conn.execute("SHOW statement_timeout").fetchone(), ("0",))
    with connect(options="-c search_path=pg_catalog -c geqo=off") as other:
        check("options", other.execute("SELECT current_setting('search_path'), current_setting('geqo')").fetchone(), ("pg_catalog", "off"))


def notifications():
    with connect() as listener, connect() as conn:
        if STATEMENT:
            try:
                listener.execute("LISTEN news")
                raise SystemExit("statement mode allows LISTEN")
            except errors.FeatureNotSupported:
                return
        listener.execute("LISTEN news")
        conn.execute("NOTIFY news, 'first'")
        got = [n.payload for n in listener.notifies(timeout=30, stop_after=1)]
        check("notification", got, ["first"])
        conn.execute("SELECT pg_notify('news', 'second')")
        check("notification while at work", [n.payload for n in listener.notifies(timeout=30, stop_after=1)], ["second"])
        listener.execute("UNLISTEN *")


def cancels(conn):
    for how in (conn.cancel, lambda: conn.cancel_safe(timeout=30)):
        done = threading.Event()

        def again():  # a request that comes too early does nothing
            while not done.wait(0.1):
                how()
        thread = threading.Thread(target=again)
        thread.start()
        try:
            conn.execute("SELECT pg_sleep(60)")
            raise SystemExit("nothing was cancelled")
        except errors.QueryCanceled:
            pass
        finally:
            done.set()
            thread.join()
        for _ in range(3):
            try:  # a request of a moment ago may be on its way
                conn.execute("SELECT 1")
                break
            except errors.QueryCanceled:
                pass
        check("after a cancel", conn.execute("SELECT 1").fetchone(), (1,))


def crowd():
    """Moves money between accounts, many at a time."""
    with connect() as conn:
        conn.execute("CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)")
        conn.execute("INSERT INTO account SELECT i, 100 FROM generate_series(1, 10) i")
    failures = []

    def work(n):
        try:
            with connect() as conn:
                for i in range(20):
                    a, b = (n + i) % 10 + 1, (n * 3 + i) % 10 + 1
                    if STATEMENT:
                        conn.execute("UPDATE account SET balance = balance + (CASE id WHEN %s THEN 1 ELSE 0 END) - (CASE id WHEN %s THEN 1 ELSE 0 END)", [a, b])
                        continue
                    with conn.transaction():
                        for account, amount in sorted([(a, 1), (b, -1)]):
                            conn.execute("UPDATE account SET balance = balance + %s WHERE id = %s", [amount, account])
        except Exception as e:
            failures.append(e)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    check("failures", failures, [])
    with connect() as conn:
        check("money", conn.execute("SELECT sum(balance) FROM account").fetchone(), (1000,))
        conn.execute("DROP TABLE account")


def restarts(conn):
    restart()
    deadline = time.monotonic() + 60
    while True:
        try:
            check("after the restart", conn.execute("SELECT 1").fetchone(), (1,))
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            if conn.closed:
                try:
                    conn = connect()
                except psycopg.OperationalError:
                    pass


with connect() as conn:
    conn.execute("DROP TABLE IF EXISTS p, account")
    conn.execute("CREATE TABLE p (id int PRIMARY KEY, t text NOT NULL)")
    check("version", conn.info.server_version >= 140000, True)
    transactions(conn)
    statements(conn)
    copies(conn)
    cursors(conn)
    settings(conn)
    notifications()
    cancels(conn)
    crowd()
    conn.execute("TRUNCATE p")
with connect() as conn:
    restarts(conn)
print("done", flush=True)
