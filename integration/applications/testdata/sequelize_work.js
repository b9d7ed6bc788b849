// An application that uses Sequelize.
const { Sequelize, DataTypes, Op, UniqueConstraintError, ForeignKeyConstraintError } = require('sequelize')
const { assert, STATEMENT, restart, again, transfer } = require('./proxied.js')

const db = new Sequelize(process.env.PGDATABASE, process.env.PGUSER, process.env.PGPASSWORD, {
  host: '127.0.0.1', port: Number(process.env.PGPORT), dialect: 'postgres', logging: false, pool: { max: 8, acquire: 60000 }
})
const Customer = db.define('sq_customer', { name: { type: DataTypes.STRING, unique: true }, balance: DataTypes.INTEGER })
const Order = db.define('sq_order', { amount: DataTypes.INTEGER, about: DataTypes.JSONB, tags: DataTypes.ARRAY(DataTypes.TEXT) })
Customer.hasMany(Order, { foreignKey: { allowNull: false } })
Order.belongsTo(Customer)

async function models () {
  await db.sync({ force: true })
  await Customer.bulkCreate([...Array(10).keys()].map((i) => ({ name: `c${i}`, balance: 100 })))
  const all = await Customer.findAll({ order: ['id'] })
  for (const c of all) {
    await Order.bulkCreate([1, 2, 3].map((n) => ({ amount: n, about: { n }, tags: ['a', 'b'], sqCustomerId: c.id })))
  }
  const found = await Customer.findAll({ where: { name: { [Op.in]: ['c3', 'c4'] } }, include: Order })
  assert.deepEqual(found.map((c) => c.sq_orders.length), [3, 3])
  assert.deepEqual(found[0].sq_orders[0].tags, ['a', 'b'])
  await found[0].update({ name: 'renamed' })
  await assert.rejects(Customer.create({ name: 'renamed' }), UniqueConstraintError)
  await assert.rejects(Order.create({ amount: 1, sqCustomerId: 999999 }), ForeignKeyConstraintError)
  assert.equal(await Order.count({ where: { about: { n: 2 } } }), 10)
  await db.query('SELECT $1::int AS a', { bind: [1] })
  await Customer.upsert({ name: 'upserted', balance: 0 })
  assert.equal(await Customer.sum('balance'), 1000)
}

async function transactions () {
  if (STATEMENT) {
    await assert.rejects(db.transaction(async (t) => Customer.count({ transaction: t })), (e) => e.parent.code === '0A000')
    return
  }
  await assert.rejects(db.transaction(async (t) => {
    await Order.destroy({ where: {}, transaction: t })
    throw new Error('no')
  }), /no/)
  assert.equal(await Order.count(), 30)
  await db.transaction({ isolationLevel: Sequelize.Transaction.ISOLATION_LEVELS.REPEATABLE_READ }, async (t) => {
    const customer = await Customer.findOne({ where: { name: 'c5' }, lock: t.LOCK.UPDATE, transaction: t })
    assert.equal(customer.name, 'c5')
    await db.transaction({ transaction: t }, async (inner) => { // a savepoint
      await Order.destroy({ where: { amount: 1 }, transaction: inner })
      await inner.rollback()
    }).catch(() => {})
    assert.equal(await Order.count({ transaction: t }), 30)
  })
  await Promise.all([...Array(12).keys()].map(async (n) => {
    for (let i = 0; i < 10; i++) {
      const steps = transfer(n, i)
      await db.transaction(async (t) => {
        for (const [id, by] of [[steps[0], 1], [steps[1], -1]].sort((x, y) => x[0] - y[0])) {
          await Customer.increment({ balance: by }, { where: { id }, transaction: t })
        }
      })
    }
  }))
  assert.equal(await Customer.sum('balance'), 1000)
}

async function main () {
  await db.authenticate()
  await models()
  await transactions()
  await restart()
  await again(() => db.query('SELECT 1'))
  assert.equal(await again(() => Order.count()), 30)
  await db.drop()
  await db.close()
  console.log('done')
  process.exit(0) // something of Sequelize's goes on after a restart, also without pgdrover
}

main().catch((e) => { console.error(e); process.exit(1) })
