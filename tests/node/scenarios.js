// What a kafkajs client does with a broker. Usage: node scenarios.js BOOTSTRAP
// One JSON line per scenario: {"scenario": name, "ok": true, "ms": 12, "error": null}
'use strict'

const assert = require('node:assert/strict')
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require('kafkajs')

const PATIENCE_MS = 20000
const run = Date.now().toString(36)
let numbers = 0

const kafka = new Kafka({ clientId: 'reader', brokers: [process.argv[2]], logLevel: logLevel.NOTHING })
const admin = kafka.admin()
const name = kind => `${kind}-${run}-${++numbers}`

async function topicOf(numPartitions, configEntries = []) {
  const topic = name('topic')
  assert.equal(await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] }), true)
  return topic
}

async function produce(topic, messages, options = {}) {
  const { acks, compression, ...rest } = options
  const producer = kafka.producer(rest)
  await producer.connect()
  const acked = await producer.send({ topic, messages, acks, compression })
  await producer.disconnect()
  return acked
}

async function until(what, condition) {
  const end = Date.now() + PATIENCE_MS
  while (!(await condition())) {
    assert.ok(Date.now() < end, `not within ${PATIENCE_MS} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

/** A running member of a group: what it has read, and how many partitions it owns. */
async function member(groupId, topic, config = {}) {
  const consumer = kafka.consumer({ groupId, heartbeatInterval: 300, rebalanceTimeout: 10000, maxWaitTimeInMs: 200, ...config })
  const state = { consumer, messages: [], partitions: 0 }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    state.partitions = (payload.memberAssignment[topic] || []).length
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({ eachMessage: async ({ partition, message }) => { state.messages.push({ partition, ...message }) } })
  return state
}

async function read(topic, count) {
  const one = await member(name('group'), topic)
  try {
    await until(`${count} messages`, () => one.messages.length >= count)
    return one.messages
  } finally {
    await one.consumer.disconnect()
  }
}

const values = messages => messages.map(m => m.value.toString())

const scenarios = {
  async every_acks() {
    const topic = await topicOf(1)
    for (const acks of [0, 1, -1]) await produce(topic, [{ value: `acks=${acks}` }], { acks })
    assert.deepEqual(values(await read(topic, 3)), ['acks=0', 'acks=1', 'acks=-1'])
  },

  async gzip() {
    const topic = await topicOf(1)
    const sent = Array.from({ length: 200 }, (_, i) => `${i}-${'x'.repeat(i)}`)
    await produce(topic, sent.map(value => ({ value })), { compression: CompressionTypes.GZIP })
    assert.deepEqual(values(await read(topic, 200)), sent)
  },

  async keys_headers_timestamps_and_nulls() {
    const topic = await topicOf(1)
    await produce(topic, [
      { key: 'k', value: 'v', headers: { a: ['1', '2'], b: '3' }, timestamp: '1600000000123' },
      { key: null, value: null }
    ])
    const [first, second] = await read(topic, 2)
    assert.equal(first.key.toString(), 'k')
    assert.equal(first.timestamp, '1600000000123')
    assert.deepEqual(first.headers.a.map(String), ['1', '2'])
    assert.equal(first.headers.b.toString(), '3')
    assert.deepEqual([second.key, second.value], [null, null])
  },

  async idempotent_producer() {
    const topic = await topicOf(1)
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (let i = 0; i < 20; i++) {
      const [acked] = await producer.send({ topic, messages: [{ value: `${i}` }] })
      assert.equal(acked.baseOffset, `${i}`)
    }
    await producer.disconnect()
  },

  async topic_made_by_first_use() {
    const topic = name('auto')
    await produce(topic, [{ value: 'v' }])
    assert.deepEqual(values(await read(topic, 1)), ['v'])
  },

  async seek_pause_and_resume() {
    const topic = await topicOf(1)
    await produce(topic, Array.from({ length: 20 }, (_, i) => ({ value: `${i}` })))
    const one = await member(name('group'), topic)
    try {
      await until('all messages', () => one.messages.length >= 20)
      one.consumer.pause([{ topic }])
      assert.equal(one.consumer.paused().length, 1)
      one.messages.length = 0
      one.consumer.seek({ topic, partition: 0, offset: '15' })
      one.consumer.resume([{ topic }])
      await until('the messages from 15 on', () => one.messages.length >= 5)
      assert.equal(one.messages[0].offset, '15')
    } finally {
      await one.consumer.disconnect()
    }
  },

  async group_of_two_rebalances() {
    const topic = await topicOf(4)
    const groupId = name('group')
    const first = await member(groupId, topic)
    await until('all partitions for the only member', () => first.partitions === 4)
    const second = await member(groupId, topic)
    await until('half of the partitions for each', () => first.partitions === 2 && second.partitions === 2)
    await produce(topic, Array.from({ length: 40 }, (_, i) => ({ partition: i % 4, value: `${i}` })))
    await until('every message', () => first.messages.length + second.messages.length === 40)
    assert.equal(first.messages.length, 20)
    await second.consumer.disconnect()
    await until('all partitions again', () => first.partitions === 4)
    await first.consumer.disconnect()
  },

  async offsets_committed_set_and_deleted() {
    const topic = await topicOf(1)
    const groupId = name('group')
    await produce(topic, Array.from({ length: 10 }, (_, i) => ({ value: `${i}` })))
    const one = await member(groupId, topic)
    await until('all messages', () => one.messages.length === 10)
    await one.consumer.commitOffsets([{ topic, partition: 0, offset: '7' }])
    await one.consumer.stop()
    await one.consumer.disconnect()
    const offset = async () => (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset
    assert.ok(['7', '10'].includes(await offset()), await offset())
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '4' }] })
    assert.equal(await offset(), '4')
    await admin.deleteGroups([groupId])
    assert.ok(!(await admin.listGroups()).groups.some(g => g.groupId === groupId))
  },

  async groups_listed_and_described() {
    const topic = await topicOf(2)
    const groupId = name('group')
    const one = await member(groupId, topic)
    await until('an assignment', () => one.partitions === 2)
    const described = (await admin.describeGroups([groupId])).groups[0]
    assert.deepEqual([described.state, described.protocol, described.members.length], ['Stable', 'RoundRobinAssigner', 1])
    assert.equal(described.members[0].clientId, 'reader')
    assert.ok((await admin.listGroups()).groups.some(g => g.groupId === groupId))
    await assert.rejects(admin.deleteGroups([groupId]))
    await one.consumer.disconnect()
  },

  async topics_partitions_and_offsets() {
    const topic = await topicOf(2)
    assert.equal(await admin.createTopics({ topics: [{ topic }] }), false)
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    const [described] = (await admin.fetchTopicMetadata({ topics: [topic] })).topics
    assert.equal(described.partitions.length, 3)
    for (let i = 0; i < 5; i++) await produce(topic, [{ partition: 0, value: 'v', timestamp: `${1000000 + i * 1000}` }])
    const find = async (promise) => (await promise).find(p => p.partition === 0)
    const offsets = await find(admin.fetchTopicOffsets(topic))
    assert.deepEqual([offsets.low, offsets.high], ['0', '5'])
    assert.equal((await find(admin.fetchTopicOffsetsByTimestamp(topic, 1001500))).offset, '2')
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '3' }] })
    assert.equal((await find(admin.fetchTopicOffsets(topic))).low, '3')
    await admin.deleteTopics({ topics: [topic] })
    await until('the topic gone', async () => !(await admin.listTopics()).includes(topic))
  },

  async configs() {
    const topic = await topicOf(1, [{ name: 'retention.ms', value: '1000000' }])
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
    const value = async key => (await admin.describeConfigs({ includeSynonyms: false, resources: [resource] }))
      .resources[0].configEntries.find(e => e.configName === key).configValue
    assert.equal(await value('retention.ms'), '1000000')
    await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '5000' }] }] })
    assert.equal(await value('retention.ms'), '5000')
  },

  async cluster() {
    const cluster = await admin.describeCluster()
    assert.deepEqual(cluster.brokers.map(b => `${b.host}:${b.port}`), [process.argv[2]])
    assert.ok(cluster.clusterId)
    assert.equal(cluster.controller, cluster.brokers[0].nodeId)
  }
}

async function report(scenario, play) {
  const began = Date.now()
  let error = null
  try {
    await play()
  } catch (thrown) {
    error = `${thrown.stack || thrown}`
  }
  console.log(JSON.stringify({ scenario, ok: error === null, ms: Date.now() - began, error }))
}

async function main() {
  await admin.connect()
  await Promise.all(Object.entries(scenarios).map(([scenario, play]) => report(scenario, play)))
  await admin.disconnect()
  process.exit(0)
}

main()
