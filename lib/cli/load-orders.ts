import type { Broker } from '../broker.ts'

/** Topic of the orders that the example creates. */
export const ORDERS_TOPIC = 'orders'

const PARTITIONS = 4
const SEND_CHUNK = 1000
/** One order in this many is bad, each time in another way. */
const BAD_EVERY = 20_011

const CUSTOMERS = ['Ada', 'Ben', 'Chen', 'Dora', 'Emeka', 'Fatima', 'Grace', 'Hugo']
/** 2026-01-01T00:00:00Z */
const FIRST_ORDER_MS = 1_767_225_600_000

/** Orders of a program with a different idea of what an order is. */
const BAD_ORDERS: readonly ((id: number) => string | Buffer)[] = [
  (id) => `order ${id}`,
  (id) => JSON.stringify({ id: `#${id}`, customer: 'Ada', total: 1 }),
  (id) => JSON.stringify({ id, customer: 'Ben', total: 'a lot' }),
  (id) => JSON.stringify({ id, customer: 'Chen', total: 1, at: 'yesterday' }),
  () => Buffer.from([0xff, 0xfe, 0x00]),
]

/** Number of orders in the log. */
export function countOrders(broker: Broker): number {
  if (!broker.topics().some(({ name }) => name === ORDERS_TOPIC)) return 0
  const { partitions } = broker.topic(ORDERS_TOPIC)
  return partitions.reduce((sum, { highWatermark }) => sum + highWatermark, 0)
}

/** Sends `count` more orders, a few of them bad. Creates the topic even if `count` is 0. */
export async function sendOrders(broker: Broker, count: number): Promise<void> {
  await broker.createTopic(ORDERS_TOPIC, { partitions: PARTITIONS, ifNotExists: true })
  const first = countOrders(broker)
  const producer = broker.producer()
  for (let from = first; from < first + count; from += SEND_CHUNK) {
    const size = Math.min(SEND_CHUNK, first + count - from)
    await producer.sendBatch(Array.from({ length: size }, (_, each) => orderOf(from + each)))
  }
  await producer.close()
}

function orderOf(id: number): { topic: string; key: string; value: string | Buffer } {
  const customer = CUSTOMERS[id % CUSTOMERS.length] ?? ''
  const key = `${customer}-${id % 1000}`
  const bad = BAD_ORDERS[Math.floor(id / BAD_EVERY) % BAD_ORDERS.length]
  if (id % BAD_EVERY === BAD_EVERY - 1 && bad !== undefined) {
    return { topic: ORDERS_TOPIC, key, value: bad(id) }
  }
  const at = new Date(FIRST_ORDER_MS + id * 1000).toISOString()
  const total = ((id * 7919) % 10_000) / 100
  return { topic: ORDERS_TOPIC, key, value: JSON.stringify({ id, customer, total, at }) }
}
