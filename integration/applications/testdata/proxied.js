// What the clients of Node.js share.
const assert = require('node:assert/strict')
const readline = require('node:readline')

const MODE = process.env.MODE
const STATEMENT = MODE === 'statement'
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// restart has the test restart the server.
async function restart () {
  const lines = readline.createInterface({ input: process.stdin })
  const answer = new Promise((resolve) => lines.once('line', resolve))
  console.log('restart')
  assert.equal(await answer, 'restarted')
  lines.close()
}

// again tries until it works: the server was restarted.
async function again (work) {
  for (const deadline = Date.now() + 60000; ;) {
    try {
      return await work()
    } catch (e) {
      if (Date.now() > deadline) throw e
      await sleep(100)
    }
  }
}

const transfer = (n, i) => [(n + i) % 10 + 1, (n * 3 + i) % 10 + 1]

module.exports = { assert, MODE, STATEMENT, sleep, restart, again, transfer }
