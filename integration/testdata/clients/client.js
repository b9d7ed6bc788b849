// The admin database by node-postgres. DSN and TASK, a finished task, are in the environment.
const assert = require('node:assert/strict')
const { Client, Pool } = require('pg')

async function main () {
  const task = process.env.TASK
  const client = new Client({ connectionString: process.env.DSN })
  const notices = []
  client.on('notice', (n) => notices.push(n.message))
  await client.connect()

  const text = await client.query('SHOW TASKS')
  assert.equal(text.command, 'SHOW')
  assert.equal(text.rows[0].id, task) // int8 is a string here
  assert.equal(text.rows[0].percent, 100)
  const both = await client.query('SHOW VERSION; SHOW SERVER_VERSION')
  assert.equal(both.length, 2)
  assert.equal((await client.query('WAIT $1', [task])).rows[0].status, 'finished')
  assert.equal((await client.query('WAIT $1', [Number(task)])).rows[0].status, 'finished')
  for (let i = 0; i < 3; i++) {
    const named = await client.query({ name: 'help', text: 'SHOW HELP $1', values: ['WAIT'] })
    assert.equal(named.rows[0].syntax, 'WAIT <task>')
  }
  assert.equal((await client.query({ text: 'SHOW VERSION', rowMode: 'array' })).rows[0][0].slice(0, 9), 'pgdrover ')
  await assert.rejects(client.query('STOP_TASK $1', [99999]), (e) => e.code === '42704' && e.hint !== undefined)
  await assert.rejects(client.query('SHOW VERSIONS x'), (e) => e.code === '42601' && e.position === '6')
  assert.equal((await client.query('SELECT 1 AS one')).rows[0].one, 1)
  await client.query('SCHEMA_SYNC PRE prod prod_new all_tables DRY RUN')
  await client.end()

  const pool = new Pool({ connectionString: process.env.DSN, max: 2 })
  const answers = await Promise.all([1, 2, 3].map(() => pool.query('SHOW VERSION')))
  assert.equal(answers.length, 3)
  await pool.end()
  console.log('done')
}

main().catch((e) => { console.error(e); process.exit(1) })
