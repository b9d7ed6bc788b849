// An application that uses node-postgres.
const { Client, Pool } = require('pg')
const { assert, STATEMENT, sleep, restart, again, transfer } = require('./proxied.js')

async function connect (more) {
  const client = new Client({ application_name: 'node', ...more })
  client.on('error', () => {}) // the server is restarted
  await client.connect()
  return client
}

async function transactions (client) {
  if (STATEMENT) {
    await assert.rejects(client.query('BEGIN'), { code: '0A000' })
    return
  }
  await client.query('BEGIN')
  await client.query('INSERT INTO n VALUES ($1, $2)', [1, 'one'])
  await client.query('SAVEPOINT s')
  await assert.rejects(client.query('INSERT INTO n VALUES ($1, $2)', [1, 'twice']), { code: '23505', constraint: 'n_pkey' })
  await assert.rejects(client.query('SELECT 1'), { code: '25P02' })
  await client.query('ROLLBACK TO s')
  await client.query('INSERT INTO n VALUES ($1, $2)', [2, 'two'])
  await client.query('COMMIT')
  await client.query('BEGIN')
  await client.query('DELETE FROM n')
  await client.query('ROLLBACK')
  assert.equal((await client.query('SELECT count(*)::int AS n FROM n')).rows[0].n, 2)
  await client.query('DELETE FROM n')
}

async function statements (client) {
  for (let i = 0; i < 20; i++) {
    await client.query({ name: 'put', text: 'INSERT INTO n VALUES ($1, $2)', values: [i, 'x'.repeat(i * 1000)] })
  }
  // All are sent at once.
  const rows = await Promise.all([...Array(20).keys()].map((i) =>
    client.query({ name: 'get', text: 'SELECT length(t) AS n FROM n WHERE id = $1', values: [i] })))
  assert.deepEqual(rows.map((r) => r.rows[0].n), [...Array(20).keys()].map((i) => i * 1000))
  const several = await client.query('SELECT 1 AS a; SELECT 2 AS a')
  assert.deepEqual(several.map((r) => r.rows[0].a), [1, 2])
  await assert.rejects(client.query('SELECT 1/$1::int', [0]), { code: '22012' })
  await assert.rejects(client.query({ name: 'bad', text: 'SELEC' }), { code: '42601', position: '1' })
  assert.equal((await client.query('SELECT $1::text AS v', ['after'])).rows[0].v, 'after')
  const notices = []
  client.on('notice', (n) => notices.push(n.message))
  await client.query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
  assert.deepEqual(notices, ['hello'])
  await client.query("SET statement_timeout = '33s'")
  for (let i = 0; i < 5; i++) assert.equal((await client.query('SHOW statement_timeout')).rows[0].statement_timeout, '33s')
  await client.query('RESET statement_timeout')
  const set = await connect({ statement_timeout: 44000, options: '-c geqo=off' })
  assert.equal((await set.query("SELECT current_setting('statement_timeout') || current_setting('geqo') AS v")).rows[0].v, '44soff')
  await set.end()
}

// Portals are read in parts, as pg-cursor does.
async function portals (client) {
  await client.query("INSERT INTO n SELECT i, 'many' FROM generate_series(1000, 5999) i")
  if (STATEMENT) return
  await client.query('BEGIN')
  const got = await client.query({ text: 'SELECT id FROM n WHERE id >= $1', values: [1000], rows: 100 })
  assert.equal(got.rows.length, 5000)
  await client.query('DECLARE c CURSOR FOR SELECT id FROM n WHERE id >= 1000 ORDER BY id')
  let n = 0
  for (;;) {
    const part = (await client.query('FETCH 700 FROM c')).rows.length
    if (part === 0) break
    n += part
  }
  assert.equal(n, 5000)
  await client.query('COMMIT')
}

async function notifications () {
  const [listener, client] = [await connect(), await connect()]
  if (STATEMENT) {
    await assert.rejects(listener.query('LISTEN news'), { code: '0A000' })
  } else {
    const heard = new Promise((resolve) => listener.once('notification', resolve))
    await listener.query('LISTEN news')
    await client.query("SELECT pg_notify('news', 'first')")
    assert.equal((await heard).payload, 'first')
    await listener.query('UNLISTEN *')
  }
  await listener.end()
  await client.end()
}

async function cancels (client) {
  const sleeping = assert.rejects(client.query('SELECT pg_sleep(60)'), { code: '57014' })
  let done = false
  sleeping.finally(() => { done = true })
  while (!done) { // a request that comes too early does nothing
    await sleep(100)
    if (!done) await cancel(client)
  }
  await sleeping
  await again(() => client.query('SELECT 1')) // a request of a moment ago may be on its way
}

// cancel sends a cancel request.
function cancel (client) {
  return new Promise((resolve, reject) => {
    const socket = require('node:net').connect(Number(process.env.PGPORT), '127.0.0.1', () => {
      const b = Buffer.alloc(16)
      b.writeInt32BE(16, 0)
      b.writeInt32BE(80877102, 4)
      b.writeInt32BE(client.processID, 8)
      b.writeInt32BE(client.secretKey, 12)
      socket.end(b)
    })
    socket.on('close', resolve)
    socket.on('error', reject)
    socket.resume()
  })
}

async function crowd (pool) {
  await pool.query('CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)')
  await pool.query('INSERT INTO account SELECT i, 100 FROM generate_series(1, 10) i')
  await Promise.all([...Array(12).keys()].map(async (n) => {
    for (let i = 0; i < 20; i++) {
      const [a, b] = transfer(n, i)
      if (STATEMENT) {
        await pool.query('UPDATE account SET balance = balance + (CASE id WHEN $1 THEN 1 ELSE 0 END) - (CASE id WHEN $2 THEN 1 ELSE 0 END)', [a, b])
        continue
      }
      const client = await pool.connect()
      await client.query('BEGIN')
      for (const [account, amount] of [[a, 1], [b, -1]].sort((x, y) => x[0] - y[0])) {
        await client.query('UPDATE account SET balance = balance + $1 WHERE id = $2', [amount, account])
      }
      await client.query('COMMIT')
      client.release()
    }
  }))
  assert.equal((await pool.query('SELECT sum(balance)::int AS n FROM account')).rows[0].n, 1000)
  await pool.query('DROP TABLE account')
}

async function main () {
  const client = await connect()
  await client.query('DROP TABLE IF EXISTS n, account')
  await client.query('CREATE TABLE n (id int PRIMARY KEY, t text NOT NULL)')
  await transactions(client)
  await statements(client)
  await portals(client)
  await notifications()
  await cancels(client)
  await client.end()

  const pool = new Pool({ max: 8 })
  pool.on('error', () => {}) // the server is restarted
  await crowd(pool)
  await restart()
  await again(() => pool.query('SELECT 1'))
  await pool.end()
  console.log('done')
}

main().catch((e) => { console.error(e); process.exit(1) })
