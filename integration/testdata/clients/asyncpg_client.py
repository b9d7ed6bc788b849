"""The admin database by asyncpg. DSN and TASK, a finished task, are in the environment."""
import asyncio
import os

import asyncpg

dsn, task = os.environ["DSN"], os.environ["TASK"]


def check(what, got, want):
    if got != want:
        raise SystemExit(f"{what}: got {got!r}, want {want!r}")


async def main():
    conn = await asyncpg.connect(dsn)
    check("server version", conn.get_server_version()[0], 14)
    tasks = await conn.fetch("SHOW TASKS")
    check("SHOW TASKS", (tasks[0]["id"], tasks[0]["status"]), (int(task), "finished"))
    check("parameter", (await conn.fetchrow("WAIT $1", int(task)))["status"], "finished")
    check("simple protocol", await conn.execute("SHOW VERSION; SHOW TASKS"), "SHOW")
    statement = await conn.prepare("SHOW HELP $1")
    check("prepared", (await statement.fetch("WAIT"))[0]["syntax"], "WAIT <task>")
    check("types", [a.type.name for a in statement.get_attributes()], ["text"] * 4)
    async with conn.transaction():
        check("in a transaction", (await conn.fetchval("SHOW VERSION"))[:9], "pgdrover ")
    try:
        await conn.fetch("STOP_TASK 99999")
        raise SystemExit("STOP_TASK 99999 succeeded")
    except asyncpg.UndefinedObjectError as e:
        check("message", e.message, "there is no task 99999")
    check("after an error", await conn.fetchval("SELECT 1"), 1)
    await conn.reset()
    await conn.close()

    async with asyncpg.create_pool(dsn, min_size=2, max_size=2) as pool:
        check("pool", (await pool.fetchval("SHOW VERSION"))[:9], "pgdrover ")


asyncio.run(main())
print("done")
