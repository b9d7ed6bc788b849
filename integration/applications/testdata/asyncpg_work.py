"""An application that uses asyncpg, with its pool."""
import asyncio
import time

import asyncpg

from proxied import STATEMENT, check, restart


async def refused(coroutine, error):
    try:
        await coroutine
    except error as e:
        return e
    raise SystemExit(f"{error.__name__} did not happen")


async def transactions(conn):
    if STATEMENT:
        await refused(conn.execute("BEGIN"), asyncpg.FeatureNotSupportedError)
        return
    async with conn.transaction(isolation="serializable"):
        await conn.execute("INSERT INTO a VALUES (1, 'one')")
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO a VALUES (1, 'twice')")
        except asyncpg.UniqueViolationError as e:
            check("constraint", e.constraint_name, "a_pkey")
        await conn.execute("INSERT INTO a VALUES (2, 'two')")
    tr = conn.transaction()
    await tr.start()
    await conn.execute("DELETE FROM a")
    await tr.rollback()
    check("rolled back", await conn.fetchval("SELECT count(*) FROM a"), 2)
    async with conn.transaction(readonly=True):
        await refused(conn.execute("DELETE FROM a"), asyncpg.ReadOnlySQLTransactionError)
    await conn.execute("DELETE FROM a")


async def statements(conn):
    await conn.executemany("INSERT INTO a VALUES ($1, $2)", [(i, "x" * i) for i in range(100)])
    for i in range(20):
        check("fetchval", await conn.fetchval("SELECT length(t) FROM a WHERE id = $1", i), i)
    prepared = await conn.prepare("SELECT id, t FROM a WHERE id = ANY($1::int[]) ORDER BY id")
    check("types", [a.name for a in prepared.get_attributes()], ["id", "t"])
    check("prepared", [r["id"] for r in await prepared.fetch([3, 5])], [3, 5])
    await conn.execute("ALTER TABLE a ADD COLUMN more int DEFAULT 7")
    for _ in range(3):
        check("after ALTER TABLE", len(await conn.fetchrow("SELECT * FROM a WHERE id = $1", 3)), 3)
    check("several statements", await conn.execute("SELECT 1; SELECT 2"), "SELECT 1")
    await refused(conn.fetch("SELECT 1/$1::int", 0), asyncpg.DivisionByZeroError)
    await refused(conn.fetch("SELEC"), asyncpg.PostgresSyntaxError)
    check("after errors", await conn.fetchval("SELECT 1"), 1)
    await conn.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    check("a new type", await conn.fetchval("SELECT $1::mood", "happy"), "happy")
    await conn.execute("DROP TYPE mood")
    check("range", await conn.fetchval("SELECT $1::int4range", asyncpg.Range(1, 5)), asyncpg.Range(1, 5))


async def copies(conn):
    check("COPY in", await conn.copy_records_to_table("a", columns=["id", "t"], records=((1000 + i, "c" * 200) for i in range(5000))), "COPY 5000")
    got = []

    async def sink(data):
        got.append(len(data))
    check("COPY out", await conn.copy_from_query("SELECT t FROM a WHERE id >= $1", 1000, output=sink), "COPY 5000")
    check("bytes", sum(got), 5000 * 201)
    await refused(conn.copy_records_to_table("a", columns=["id", "t"], records=((1000, "again" * 100) for i in range(5000))), asyncpg.UniqueViolationError)
    check("after a failed COPY", await conn.fetchval("SELECT count(*) FROM a WHERE id >= 1000"), 5000)


async def cursors(conn):
    if STATEMENT:
        return
    async with conn.transaction():
        n = 0
        async for _ in conn.cursor("SELECT id FROM a WHERE id >= $1", 1000, prefetch=100):
            n += 1
        check("cursor", n, 5000)
        cur = await conn.cursor("SELECT id FROM a WHERE id >= 1000 ORDER BY id")
        await cur.forward(10)
        check("forward", (await cur.fetchrow())["id"], 1010)


async def notifications():
    listener, conn = await asyncpg.connect(), await asyncpg.connect()
    queue = asyncio.Queue()
    if STATEMENT:
        await refused(listener.add_listener("news", lambda *a: None), asyncpg.FeatureNotSupportedError)
    else:
        def heard(c, pid, channel, payload):
            queue.put_nowait(payload)
        await listener.add_listener("news", heard)
        await conn.execute("NOTIFY news, 'first'")
        check("notification", await asyncio.wait_for(queue.get(), 30), "first")
        await listener.remove_listener("news", heard)
    await listener.close()
    await conn.close()


async def cancels(conn):
    # asyncpg sends a cancel request when the time is over.
    await refused(conn.fetch("SELECT pg_sleep(60)", timeout=0.5), asyncio.TimeoutError)
    check("after a timeout", await conn.fetchval("SELECT 1"), 1)
    task = asyncio.create_task(conn.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.2)
    task.cancel()
    await refused(task, asyncio.CancelledError)
    check("after a cancel", await conn.fetchval("SELECT 1"), 1)


async def crowd(pool):
    await pool.execute("CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)")
    await pool.execute("INSERT INTO account SELECT i, 100 FROM generate_series(1, 10) i")

    async def work(n):
        for i in range(20):
            a, b = (n + i) % 10 + 1, (n * 3 + i) % 10 + 1
            async with pool.acquire() as conn:  # RESET of the session follows
                if STATEMENT:
                    await conn.execute("UPDATE account SET balance = balance + (CASE id WHEN $1 THEN 1 ELSE 0 END) - (CASE id WHEN $2 THEN 1 ELSE 0 END)", a, b)
                    continue
                async with conn.transaction():
                    for account, amount in sorted([(a, 1), (b, -1)]):
                        await conn.execute("UPDATE account SET balance = balance + $1 WHERE id = $2", amount, account)
    await asyncio.gather(*(work(n) for n in range(12)))
    check("money", await pool.fetchval("SELECT sum(balance) FROM account"), 1000)
    await pool.execute("DROP TABLE account")


async def restarts(pool):
    restart()
    deadline = time.monotonic() + 60
    while True:
        try:
            check("after the restart", await pool.fetchval("SELECT 1"), 1)
            return
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


async def main():
    conn = await asyncpg.connect(server_settings={"application_name": "asyncpg", "jit": "off"})
    check("server settings", await conn.fetchval("SHOW jit"), "off")
    await conn.execute("DROP TABLE IF EXISTS a, account")
    await conn.execute("CREATE TABLE a (id int PRIMARY KEY, t text NOT NULL)")
    for part in (transactions, statements, copies, cursors, cancels):
        await part(conn)
    await conn.execute("SET statement_timeout = '33s'")
    check("SET", await conn.fetchval("SHOW statement_timeout"), "33s")
    await conn.reset()
    check("reset", await conn.fetchval("SHOW statement_timeout"), "0")
    await conn.close()
    await notifications()
    async with asyncpg.create_pool(min_size=2, max_size=8) as pool:
        await crowd(pool)
        await restarts(pool)


asyncio.run(main())
print("done", flush=True)
