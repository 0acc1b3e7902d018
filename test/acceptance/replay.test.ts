/** The recorded exchanges of existing clients, against the real program, database and broker. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect, type GetMessage } from 'amqplib'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import {
  PASSWORD,
  SECRET,
  type TestService,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import { eventually, sample } from './helpers.js'

const FIXTURES = fileURLToPath(new URL('../fixtures/exchanges/', import.meta.url))
const QUEUE = 'raw_file_received'

async function run(script: string, args: readonly string[], environment = {}) {
  const child = spawn(process.execPath, [join(FIXTURES, script), ...args], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk
    })
  }
  const [code] = await once(child, 'close')
  return { code, output }
}

async function consumeAll(uri: string): Promise<GetMessage[]> {
  const connection = await connect(uri)
  try {
    const channel = await connection.createChannel()
    // Fails unless the queue exists with this very declaration.
    await channel.assertQueue(QUEUE, { durable: true, exclusive: false, autoDelete: false })
    const messages: GetMessage[] = []
    for (;;) {
      const message = await channel.get(QUEUE, { noAck: true })
      if (!message) return messages
      messages.push(message)
    }
  } finally {
    await connection.close()
  }
}

describe('recorded exchanges', () => {
  let store: TestStore
  let service: TestService
  let client: Client
  let directory: string
  let captures: string
  let messages: GetMessage[]

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bytes-test-replay-'))
    captures = join(directory, 'captures.json')
    store = await testStore()
    service = await store.start({
      QUEUE_URI: inject('brokerUris').replay,
      BYTES_ACCESS_TOKEN_EXPIRE_MINUTES: '1000',
    })
  })

  afterAll(async () => {
    await store?.remove()
    await rm(directory, { recursive: true, force: true })
  })

  it('are answered as recorded, or better', async () => {
    const { code, output } = await run(
      'replay.mjs',
      [join(FIXTURES, 'exchanges.json'), '--headers', '--captures', captures],
      {
        BASE_URL: service.url,
        BYTES_USERNAME: USERNAME,
        BYTES_PASSWORD: PASSWORD,
        BYTES_SECRET: SECRET,
      },
    )
    expect(output).toContain('\n437 passed, 0 failed\n')
    expect(output).not.toContain('FAIL')
    expect(code).toBe(0)
  })

  it('leave the recorded messages in the queue', async () => {
    client = await login(service.url)
    await eventually(async () => {
      const page = await (await client.request('/metrics')).text()
      return sample(page, 'bytes_outbox_events') === 0
    }, 'all events are published')
    messages = await consumeAll(inject('brokerUris').replay)
    expect(messages.length).toBeGreaterThan(0)

    const file = join(directory, 'messages.jsonl')
    const lines = messages.map(({ content, fields, properties }) =>
      JSON.stringify({
        body: content.toString('utf8'),
        routing_key: fields.routingKey,
        exchange: fields.exchange,
        properties,
      }),
    )
    await writeFile(file, `${lines.join('\n')}\n`)
    const { code, output } = await run('check_events.mjs', [
      join(FIXTURES, 'events.json'),
      captures,
      file,
    ])
    expect(output).toMatch(/^[1-9]\d* passed, 0 failed$/m)
    expect(code).toBe(0)
  })

  it('leave as many messages as raw files', async () => {
    const page = await (await client.request('/metrics')).text()
    const files = page
      .split('\n')
      .filter((line) => line.startsWith('bytes_database_raw_files_total{'))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
    expect(messages.length).toBe(files)
    expect(sample(page, 'bytes_relay_events_total{outcome="published"}')).toBe(files)
  })

  it('leave messages with the promised properties', async () => {
    for (const { content, properties } of messages) {
      const body = JSON.parse(content.toString('utf8'))
      const raw = await client.request(`/bytes/raw/${body.raw_data.id}`)
      const bytes = Buffer.from(await raw.arrayBuffer())
      expect(properties).toMatchObject({
        deliveryMode: 2,
        contentType: 'application/json',
        messageId: body.raw_data.id,
        type: 'raw_file_received',
        headers: {
          'content-digest': `sha512:${createHash('sha512').update(bytes).digest('hex')}`,
          size: bytes.length,
        },
      })
      // The one is taken before the transaction, the other in it.
      expect(Math.abs(properties.timestamp - Date.parse(body.created_at) / 1000)).toBeLessThan(60)
      expect(Number.isInteger(properties.timestamp)).toBe(true)
    }
    expect(new Set(messages.map((message) => message.properties.messageId)).size).toBe(
      messages.length,
    )
  })
})
