import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ChannelModel, connect, type GetMessage } from 'amqplib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import type { EventManager, Log, OutgoingEvent } from '../../src/domain/ports.js'
import { redactUri } from '../../src/events/connection.js'
import { createRabbitMQEventManager, RAW_FILE_QUEUE } from '../../src/events/rabbitmq.js'
import {
  eventManagerContract,
  outgoingEvent,
  outgoingEvents,
} from '../contracts/event-manager.contract.js'
import { PATIENCE } from '../support/patience.js'
import { startTestRabbitMQ, type TestBroker } from '../support/rabbitmq.js'

const DECLARATION = { durable: true, exclusive: false, autoDelete: false }
const UNAVAILABLE = { name: 'BytesError', code: 'broker_unavailable' }

let broker: TestBroker
let consumer: ChannelModel | undefined
const managers: EventManager[] = []
const unhandled: unknown[] = []
const onUnhandled = (error: unknown) => void unhandled.push(error)

interface Entry {
  readonly level: string
  readonly message: string
  readonly fields: object
}

function recordingLog(): Log & { entries: Entry[] } {
  const entries: Entry[] = []
  const at = (level: string) => (fields: object, message: string) =>
    void entries.push({ level, message, fields })
  return { entries, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function openManager(changes: { uri?: string; onConnected?: () => void } = {}) {
  const log = recordingLog()
  const manager = createRabbitMQEventManager({ uri: broker.uri, log, ...changes })
  managers.push(manager)
  return { manager, log }
}

async function connected(manager: EventManager): Promise<void> {
  await vi.waitFor(() => expect(manager.connected).toBe(true), PATIENCE)
}

async function disconnected(manager: EventManager): Promise<void> {
  await vi.waitFor(() => expect(manager.connected).toBe(false), PATIENCE)
}

/**
 * Whether it ends in less than 4 s: what waits for an answer takes 5 s, and for a confirm 10 s. They
 * are counted in steps, of which a machine that stands still takes one.
 */
async function isPrompt(work: Promise<void>): Promise<boolean> {
  let ended = false
  const end = work.then(() => {
    ended = true
  })
  for (let step = 0; step < 80 && !ended; step++) await Promise.race([end, sleep(50)])
  return ended
}

async function openChannel() {
  consumer ??= await connect(broker.uri)
  consumer.on('error', () => {})
  const channel = await consumer.createChannel()
  channel.on('error', () => {})
  return channel
}

/** @param count of the messages there must be, all that there are by default */
async function take(count = Number.POSITIVE_INFINITY): Promise<GetMessage[]> {
  const channel = await openChannel()
  const messages: GetMessage[] = []
  while (messages.length < count) {
    const message = await channel.get(RAW_FILE_QUEUE, { noAck: true })
    if (message === false) break
    messages.push(message)
  }
  const { messageCount } = await channel.assertQueue(RAW_FILE_QUEUE, DECLARATION)
  expect(messageCount).toBe(0)
  await channel.close()
  return messages
}

async function takeIds(count?: number): Promise<unknown[]> {
  return (await take(count)).map((message) => message.properties.messageId)
}

async function deleteQueue(): Promise<void> {
  const channel = await openChannel()
  await channel.deleteQueue(RAW_FILE_QUEUE)
  await channel.close()
}

async function closeConsumer(): Promise<void> {
  const closing = consumer
  consumer = undefined
  await closing?.close().catch(() => undefined)
}

const MESSAGE_LIMIT = 134_217_728

/** Sets the size in bytes above which the broker refuses a message, on channels opened later. */
async function limitMessages(bytes: number): Promise<void> {
  const result = await broker.evaluate(
    `application:set_env(rabbit, max_message_size, ${bytes}), ` +
      `persistent_term:put(max_message_size, ${bytes})`,
  )
  expect(result).toBe('ok')
}

const idsOf = (events: OutgoingEvent[]) => events.map((event) => event.messageId)
const messagesOf = (log: { entries: Entry[] }) =>
  log.entries.map(({ level, message }) => `${level}: ${message}`)

beforeAll(async () => {
  process.on('unhandledRejection', onUnhandled)
  process.on('uncaughtException', onUnhandled)
  broker = await startTestRabbitMQ()
})

afterAll(async () => {
  process.off('unhandledRejection', onUnhandled)
  process.off('uncaughtException', onUnhandled)
  await broker?.stop()
})

beforeEach(deleteQueue)

afterEach(async () => {
  await Promise.all(managers.splice(0).map((manager) => manager.close()))
  await closeConsumer()
  expect(unhandled.splice(0)).toEqual([])
})

eventManagerContract('RabbitMQ', async () => ({
  manager: openManager().manager,
  async receive(count) {
    return (await take(count)).map(({ content, properties }) => ({
      messageId: properties.messageId,
      eventId: properties.type,
      timestamp: properties.timestamp,
      body: content.toString(),
      headers: { ...properties.headers },
    }))
  },
  async dispose() {},
}))

describe('messages', () => {
  it('have the properties that consumers rely on', async () => {
    const { manager } = openManager()
    await connected(manager)
    const event = outgoingEvent({ timestamp: 1_760_000_000.75 })
    expect(await manager.publish([event])).toEqual([true])
    const [message] = await take(1)
    expect(message?.fields).toMatchObject({ exchange: '', routingKey: RAW_FILE_QUEUE })
    expect(message?.properties).toMatchObject({
      deliveryMode: 2,
      contentType: 'application/json',
      messageId: event.messageId,
      timestamp: 1_760_000_000,
      type: 'raw_file_received',
      headers: event.headers,
    })
  })

  it('are written with regard to the write buffer', async () => {
    const { manager } = openManager()
    await connected(manager)
    const events = outgoingEvents(5_000)
    expect(new Set(await manager.publish(events))).toEqual(new Set([true]))
    expect(await takeIds(5_000)).toEqual(idsOf(events))
  })

  it('that cannot be encoded do not hold up the others', async () => {
    const { manager, log } = openManager()
    await connected(manager)
    const events = [
      outgoingEvent(),
      outgoingEvent({ headers: { digest: 'x'.repeat(100_000) } }),
      outgoingEvent(),
    ]
    expect(await manager.publish(events)).toEqual([true, false, true])
    expect(await takeIds(2)).toEqual([events[0]?.messageId, events[2]?.messageId])
    expect(messagesOf(log)).toContain('error: an event cannot be put into a message')
  })

  it('that the broker refuses are not confirmed', async () => {
    const { manager } = openManager()
    await connected(manager)
    const arguments_ = '[{<<"max-length">>, 1}, {<<"overflow">>, <<"reject-publish">>}]'
    await broker.evaluate(
      `rabbit_policy:set(<<"/">>, <<"full">>, <<".*">>, ${arguments_}, 0, <<"queues">>, <<"x">>)`,
    )
    try {
      // The process of the queue learns of it a moment later.
      const applied = await broker.evaluate(
        `(fun Wait() -> {ok, Queue} = rabbit_amqqueue:lookup(` +
          `rabbit_misc:r(<<"/">>, queue, <<"${RAW_FILE_QUEUE}">>)), ` +
          `case rabbit_amqqueue:info(Queue, [policy]) of [{policy, <<"full">>}] -> ok; ` +
          '_ -> timer:sleep(10), Wait() end end)()',
      )
      expect(applied).toBe('ok')
      expect(await manager.publish([outgoingEvent()])).toEqual([true])
      expect(await manager.publish([outgoingEvent()])).toEqual([false])
      expect(manager.connected).toBe(true)
    } finally {
      await broker.evaluate('rabbit_policy:delete(<<"/">>, <<"full">>, <<"x">>)')
    }
  })

  it('that are too large for the broker are named, once', async () => {
    const onConnected = vi.fn()
    const [first, last] = [outgoingEvent(), outgoingEvent()]
    const large = outgoingEvent({ body: JSON.stringify('é'.repeat(3_000)) })
    await limitMessages(5_000)
    const { manager, log } = openManager({ onConnected })
    try {
      await connected(manager)
      const results = await manager.publish([first, large, last])
      expect(results.slice(1)).toEqual([false, false])
      // It is known by now, not only when the goodbye was said.
      expect(manager.connected).toBe(false)
      for (let again = 0; again < 2; again++) {
        await connected(manager)
        expect(await manager.publish([large])).toEqual([false])
      }
      await connected(manager)
      expect(await manager.publish([last])).toEqual([true])
      expect(onConnected).toHaveBeenCalledTimes(4)
      expect(log.entries.filter(({ level }) => level !== 'debug')).toEqual([
        expect.objectContaining({ message: 'connected to the broker' }),
        {
          level: 'error',
          message: expect.stringContaining('larger than its max_message_size'),
          fields: { messageId: large.messageId, queue: RAW_FILE_QUEUE, size: 6_002 },
        },
      ])
    } finally {
      await limitMessages(MESSAGE_LIMIT)
    }
    // A channel keeps the limit that it was opened with.
    expect(await manager.publish([large])).toEqual([false])
    await connected(manager)
    expect(await manager.publish([large])).toEqual([true])
  })

  it('are not complained of one by one when the channel is closed under them', async () => {
    await limitMessages(5_000)
    const { manager, log } = openManager()
    try {
      await connected(manager)
      const publishing = manager.publish([
        outgoingEvent({ body: JSON.stringify('x'.repeat(6_000)) }),
        ...outgoingEvents(20_000),
      ])
      // Whoever publishes in the very moment of the refusal finds no connection.
      const attempts: Promise<unknown>[] = []
      while (manager.connected) {
        attempts.push(manager.publish(outgoingEvents(10)).catch(() => undefined))
        await new Promise((resolve) => setImmediate(resolve))
      }
      expect(await publishing).toContain(false)
      await Promise.all(attempts)
    } finally {
      await limitMessages(MESSAGE_LIMIT)
    }
    expect(messagesOf(log).filter((line) => line.startsWith('error'))).toHaveLength(1)
  })

  it('that no queue takes are not confirmed, and the queue is declared again', async () => {
    const { manager, log } = openManager()
    await connected(manager)
    await deleteQueue()
    const events = outgoingEvents(3)
    expect(await manager.publish(events)).toEqual([false, false, false])
    expect(await manager.publish(events)).toEqual([true, true, true])
    expect(await takeIds(3)).toEqual(idsOf(events))
    expect(messagesOf(log).slice(1)).toEqual(['warn: the queue is gone and will be declared again'])
  })
})

describe('the connection', () => {
  it('has a name, and declares the queue before anything is published', async () => {
    const { manager, log } = openManager()
    await connected(manager)
    const clients = await broker.evaluate(
      'rabbit_networking:connection_info_all([client_properties])',
    )
    expect(clients).toContain('{<<"connection_name">>,longstr,<<"bytes">>}')
    const channel = await openChannel()
    expect(await channel.checkQueue(RAW_FILE_QUEUE)).toMatchObject({ messageCount: 0 })
    expect(await channel.assertQueue(RAW_FILE_QUEUE, DECLARATION)).toBeDefined()
    expect(messagesOf(log)).toEqual(['info: connected to the broker'])
  })

  it('is made again when the broker was stopped and started', async () => {
    const onConnected = vi.fn()
    const { manager, log } = openManager({ onConnected })
    await connected(manager)
    expect(await manager.publish([outgoingEvent()])).toEqual([true])
    await closeConsumer()
    await broker.pauseApp()
    try {
      await disconnected(manager)
      await expect(manager.publish([outgoingEvent()])).rejects.toMatchObject(UNAVAILABLE)
      // Long enough for several attempts.
      await sleep(1_500)
    } finally {
      await broker.resumeApp()
    }
    await connected(manager)
    expect(await manager.publish([outgoingEvent()])).toEqual([true])
    await take(2)
    expect(onConnected).toHaveBeenCalledTimes(2)
    expect(messagesOf(log)).toEqual([
      'info: connected to the broker',
      'warn: no connection to the broker; events are kept until there is one',
      'info: connected to the broker again',
    ])
    expect(JSON.stringify(log.entries[1])).toContain('CONNECTION_FORCED')
  })

  it('is made again when the broker was killed; confirmed messages are kept', async () => {
    const { manager } = openManager()
    await connected(manager)
    const kept = outgoingEvents(50)
    expect(new Set(await manager.publish(kept))).toEqual(new Set([true]))
    await closeConsumer()
    // What the broker knows of a queue that is new reaches its disk later than confirmed messages do.
    expect(await broker.evaluate('mnesia:sync_log()')).toBe('ok')
    const killing = broker.kill()
    // Until it is dead it may confirm any number.
    let results: readonly boolean[] = []
    while (!results.includes(false)) {
      results = await manager.publish(outgoingEvents(200)).catch(() => [false])
    }
    await killing
    await disconnected(manager)
    await broker.restart()
    await connected(manager)
    const event = outgoingEvent()
    expect(await manager.publish([event])).toEqual([true])
    const ids = await takeIds()
    expect(ids).toEqual(expect.arrayContaining(idsOf([...kept, event])))
    expect(ids.slice(0, 50)).toEqual(idsOf(kept))
  })

  it('counts as none while the broker takes no messages', async () => {
    const onConnected = vi.fn()
    const { manager, log } = openManager({ onConnected })
    await connected(manager)
    await broker.block()
    const published: Promise<boolean[]>[] = []
    try {
      // The broker tells publishers only. A message that it still takes does not find out.
      while (manager.connected) {
        const publishing = manager.publish([outgoingEvent()])
        published.push(publishing)
        await Promise.race([publishing, disconnected(manager)])
      }
      await expect(manager.publish([outgoingEvent()])).rejects.toMatchObject(UNAVAILABLE)
      for (const first of await Promise.all(published)) expect(first.length).toBe(1)
      expect(manager.connected).toBe(false)
    } finally {
      await broker.unblock()
    }
    await connected(manager)
    expect(await manager.publish([outgoingEvent()])).toEqual([true])
    expect((await take(published.length + 1)).length).toBe(published.length + 1)
    expect(onConnected).toHaveBeenCalledTimes(2)
    expect(messagesOf(log)).toEqual([
      'info: connected to the broker',
      'warn: the broker is short of resources and takes no events',
      'info: the broker takes events again',
    ])
  })

  it('is dropped when a frozen broker confirms nothing', async () => {
    const { manager, log } = openManager()
    await connected(manager)
    await broker.freeze()
    try {
      const started = performance.now()
      expect(await manager.publish(outgoingEvents(3))).toEqual([false, false, false])
      expect(performance.now() - started).toBeGreaterThan(9_900)
      await disconnected(manager)
      expect(JSON.stringify(log.entries.at(-1))).toContain('did not confirm within 10000 ms')
    } finally {
      broker.thaw()
    }
    await connected(manager)
    expect(await manager.publish([outgoingEvent()])).toEqual([true])
    expect(messagesOf(log).at(-1)).toBe('info: connected to the broker again')
  })

  it('is dropped when a frozen broker sends no heartbeats', async () => {
    const { manager, log } = openManager({ uri: `${broker.uri}?heartbeat=1` })
    await connected(manager)
    await broker.freeze()
    try {
      await disconnected(manager)
      await vi.waitFor(
        () => expect(JSON.stringify(log.entries.at(-1))).toContain('Heartbeat timeout'),
        PATIENCE,
      )
      expect(await isPrompt(manager.close())).toBe(true)
    } finally {
      broker.thaw()
    }
  })

  it('is refused, with a clear message, by a queue with another declaration', async () => {
    const channel = await openChannel()
    await channel.assertQueue(RAW_FILE_QUEUE, { ...DECLARATION, durable: false })
    const { manager, log } = openManager()
    await vi.waitFor(() => expect(log.entries.length).toBe(1), PATIENCE)
    await sleep(1_000)
    expect(manager.connected).toBe(false)
    expect(log.entries).toMatchObject([
      {
        level: 'error',
        message: expect.stringContaining('exists with another declaration'),
        fields: { queue: RAW_FILE_QUEUE, reason: expect.stringContaining("arg 'durable'") },
      },
    ])
    await deleteQueue()
    await connected(manager)
    expect(await manager.publish([outgoingEvent()])).toEqual([true])
    expect(log.entries.length).toBe(2)
  })

  it('survives that its listener throws', async () => {
    const { manager, log } = openManager({
      onConnected: () => {
        throw new Error('listener')
      },
    })
    await connected(manager)
    await vi.waitFor(
      () => expect(messagesOf(log)).toContain('error: a listener for the broker failed'),
      PATIENCE,
    )
    expect(await manager.publish([outgoingEvent()])).toEqual([true])
  })
})

describe('secrets and wrong addresses', () => {
  const SECRET = 's3cr3t-pa55'

  it('never appear in logs or errors', async () => {
    const at = `127.0.0.1:${broker.port}`
    const uris = [
      `amqp://guest:${SECRET}@${at}`,
      `amqp://guest:${SECRET}@${at}/no-such-vhost`,
      `amqp://guest:guest@${at}/${'v'.repeat(300)}`,
      `amqp://guest:${SECRET}@127.0.0.1:1`,
      `amqp://guest:${SECRET}@localhost:1`,
      `amqp://guest:${SECRET}@no-such-host.invalid`,
      `amqp://guest:${SECRET}@127.0.0.1:99999`,
      `amqp://guest:${SECRET}@127.0.0.1:port`,
      `amqp://guest:1/${SECRET}@${at}`,
      `amqp://guest:1?${SECRET}@${at}`,
      `amqp://guest:1#${SECRET}@${at}`,
      `amqp://guest:${SECRET}%ZZ@${at}`,
      `amqp://guest:${SECRET}@${at}?heartbeat=often`,
      `amqp://guest:${SECRET}@${at}?frameMax=1`,
      `amqp://guest:${SECRET}@`,
      `amqps://guest:${SECRET}@${at}`,
      `http://guest:${SECRET}@${at}`,
      `guest:${SECRET}@${at}`,
      '',
    ]
    for (const uri of uris) {
      const { manager, log } = openManager({ uri })
      await vi.waitFor(() => expect(log.entries.length, uri).toBe(1), PATIENCE)
      expect(manager.connected, uri).toBe(false)
      const error = await manager.publish([outgoingEvent()]).catch((failure: unknown) => failure)
      expect(error).toMatchObject(UNAVAILABLE)
      const said = JSON.stringify([log.entries, error, String(error)])
      expect(said, uri).not.toContain(SECRET)
      expect(log.entries).toMatchObject([{ level: 'warn', fields: { reason: /./ } }])
      await manager.close()
    }
  })

  it.each([
    ['amqp://user:pass@host:5672/vhost', 'amqp://user:***@host:5672/vhost'],
    ['amqp://user:p@ss:w@host/vhost', 'amqp://user:***@host/vhost'],
    ['amqps://:pass@host', 'amqps://:***@host'],
    ['amqp://user@host', 'amqp://user@host'],
    ['amqp://host:5672/vhost', 'amqp://host:5672/vhost'],
    ['user:pass@host', 'user:***@host'],
  ])('are redacted: %s', (uri, redacted) => {
    expect(redactUri(uri)).toBe(redacted)
  })

  it('are decoded: a user with other than ASCII letters', async () => {
    const erlang = (text: string) => `<<${[...Buffer.from(text)].join(',')}>>`
    const user = erlang('zoë')
    const created = await broker.evaluate(
      `rabbit_auth_backend_internal:add_user(${user}, ${erlang('p@ß')}, <<"x">>), ` +
        'rabbit_auth_backend_internal:set_permissions(' +
        `${user}, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"x">>)`,
    )
    expect(created).toBe('ok')
    const login = `zo${encodeURIComponent('ë')}:${encodeURIComponent('p@ß')}`
    const { manager } = openManager({ uri: `amqp://${login}@127.0.0.1:${broker.port}` })
    await connected(manager)
  })
})

describe('close', () => {
  it('is prompt while there is no broker', async () => {
    let attempts = 0
    const server = createServer((socket) => {
      attempts++
      socket.destroy()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    // So the pause after the second attempt takes 10 s.
    const random = vi.spyOn(Math, 'random').mockReturnValue(100)
    try {
      const { manager } = openManager({ uri: `amqp://127.0.0.1:${port}` })
      await vi.waitFor(() => expect(attempts).toBe(2), PATIENCE)
      // It is pausing by now; if not, it is at a moment of connecting.
      await sleep(100)
      expect(await isPrompt(manager.close())).toBe(true)
    } finally {
      random.mockRestore()
      server.close()
    }
  })

  it('is prompt at any moment of connecting', async () => {
    for (const delay of [0, 1, 2, 3, 5, 8, 12, 20, 30]) {
      const { manager, log } = openManager()
      await sleep(delay)
      expect(await isPrompt(manager.close())).toBe(true)
      expect(manager.connected).toBe(false)
      expect(log.entries.filter(({ level }) => level !== 'info')).toEqual([])
    }
    const { manager } = openManager()
    expect(await isPrompt(manager.close())).toBe(true)
  })

  it('ends what is being published', async () => {
    const { manager } = openManager()
    await connected(manager)
    const publishing = manager.publish(outgoingEvents(500))
    expect(await isPrompt(manager.close())).toBe(true)
    expect((await publishing).length).toBe(500)
  })

  it('is prompt when the broker is frozen, and leaves no socket', async () => {
    const { manager } = openManager()
    await connected(manager)
    await broker.freeze()
    try {
      const publishing = manager.publish(outgoingEvents(3))
      expect(await isPrompt(manager.close())).toBe(true)
      expect(await publishing).toEqual([false, false, false])
    } finally {
      broker.thaw()
    }
  })

  it('is prompt when the other side never answers, which otherwise takes 5 s', async () => {
    const sockets: Socket[] = []
    const server = createServer((socket) => {
      socket.on('error', () => {})
      sockets.push(socket)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    try {
      const uri = `amqp://127.0.0.1:${port}`
      const patient = openManager({ uri })
      const { manager } = openManager({ uri })
      await vi.waitFor(() => expect(sockets.length).toBe(2), PATIENCE)
      expect(await isPrompt(manager.close())).toBe(true)
      await vi.waitFor(() => expect(patient.log.entries.length).toBe(1), PATIENCE)
      expect(JSON.stringify(patient.log.entries)).toContain('did not answer within 5000 ms')
    } finally {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
  })
})
