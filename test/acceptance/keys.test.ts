/** `bytes keys`, and what the settings of keys do to the start. Sealed keys are libsodium's. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sodium from 'libsodium-wrappers'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { login } from '../support/client.js'
import {
  PASSWORD,
  runProcess,
  SECRET,
  spawnProcess,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import { base64, eventually, query, sample } from './helpers.js'

interface Pair {
  readonly publicKey: Uint8Array
  readonly privateKey: Uint8Array
  readonly id: string
}

function newPair(): Pair {
  const { publicKey, privateKey } = sodium.crypto_box_keypair()
  return { publicKey, privateKey, id: idOf(publicKey) }
}
const idOf = (publicKey: Uint8Array): string =>
  createHash('sha256').update(publicKey).digest('hex').slice(0, 16)

let old: Pair
let current: Pair
let lost: Pair
let store: TestStore
let environment: Record<string, string>

beforeAll(async () => {
  await sodium.ready
  ;[old, current, lost] = [newPair(), newPair(), newPair()]
})

beforeEach(async () => {
  store = await testStore()
  environment = {
    BYTES_USERNAME: USERNAME,
    BYTES_PASSWORD: PASSWORD,
    BYTES_SECRET: SECRET,
    BYTES_DB_URI: store.databaseUri,
    BYTES_PUBLIC_KEY_B64: base64(current.publicKey),
    BYTES_PRIVATE_KEY_B64: base64(current.privateKey),
    BYTES_OLD_PRIVATE_KEYS_B64: base64(old.privateKey),
  }
})

afterEach(() => store.remove())

const fileKey = Buffer.alloc(16, 'the key of a file')
let blobs = 0

/** Adds blobs whose file key is sealed to a pair, or that have none. */
async function insert(pair: Pair | null, count = 1): Promise<void> {
  blobs += count
  await query(
    store.databaseUri,
    `INSERT INTO blob (organization, content_digest, size, address, stored_size, middleware, key_id,
                       sealed_key)
     SELECT 'org', 'sha512:' || n, 1, n, 1, $1, $2, $3 FROM generate_series($4::int, $5::int) n`,
    [
      pair ? 'NACL_SEALBOX' : 'IDENTITY',
      pair?.id ?? null,
      pair && Buffer.from(sodium.crypto_box_seal(fileKey, pair.publicKey)),
      blobs - count,
      blobs - 1,
    ],
  )
}

const keys = (args: string[], changes: Record<string, string> = {}) =>
  runProcess(['keys', ...args], { ...environment, ...changes })
const status = async (changes: Record<string, string> = {}) => {
  const { code, stdout, stderr } = await keys(['status', '--json'], changes)
  expect([code, stderr]).toEqual([0, ''])
  return JSON.parse(stdout)
}
const row = (pair: Pair, count: number, here = true) => ({
  key_id: pair.id,
  blobs: count,
  current: pair === current,
  private_key: here,
})

describe('bytes keys generate', () => {
  it('prints a pair as settings, and nothing else', async () => {
    const seen = new Set<string>()
    for (let i = 0; i < 2; i++) {
      const { code, stdout, stderr } = await runProcess(['keys', 'generate'], {})
      expect(code).toBe(0)
      const form = /^BYTES_PUBLIC_KEY_B64=(\S{44})\nBYTES_PRIVATE_KEY_B64=(\S{44})\n$/
      const [, publicKey = '', privateKey = ''] = form.exec(stdout) ?? []
      const derived = sodium.crypto_scalarmult_base(Buffer.from(privateKey, 'base64'))
      expect(base64(derived)).toBe(publicKey)
      expect(stderr).toContain('private key')
      expect(stderr).not.toContain(privateKey)
      seen.add(privateKey)
      const settings = Object.fromEntries(
        stdout
          .trim()
          .split('\n')
          .map((line) => line.split(/=(.*)/s).slice(0, 2)),
      )
      const id = idOf(Buffer.from(publicKey, 'base64'))
      expect((await status(settings)).keys[0]).toEqual({
        key_id: id,
        blobs: 0,
        current: true,
        private_key: true,
      })
    }
    expect(seen.size).toBe(2)
  })
})

describe('bytes keys rotate', () => {
  it('re-seals every file key to the current public key', async () => {
    await insert(old, 1200)
    await insert(current, 3)
    await insert(null, 2)
    expect(await status()).toEqual({ keys: [row(current, 3), row(old, 1200)], unencrypted: 2 })
    const { code, stdout, stderr } = await keys(['rotate', '--batch', '100'])
    expect(code).toBe(0)
    // On a slow machine it tells how far it is.
    expect(stderr.replace(/^\w+ +\d+ %.*$/gm, '').trim()).toBe('')
    expect(stdout).toBe(`1200 keys re-sealed to ${current.id}, 0 failed, 0 left\n`)
    expect(await status()).toEqual({ keys: [row(current, 1203), row(old, 0)], unencrypted: 2 })

    const rows = await query<{ sealed_key: Buffer }>(
      store.databaseUri,
      'SELECT sealed_key FROM blob WHERE key_id IS NOT NULL',
    )
    expect(new Set(rows.map((each) => each.sealed_key.toString('hex'))).size).toBe(1201)
    for (const { sealed_key } of rows) {
      const opened = sodium.crypto_box_seal_open(sealed_key, current.publicKey, current.privateKey)
      expect(Buffer.from(opened)).toEqual(fileKey)
    }
    expect((await keys(['rotate'], { BYTES_OLD_PRIVATE_KEYS_B64: '' })).stdout).toBe(
      `0 keys re-sealed to ${current.id}, 0 failed, 0 left\n`,
    )
  })

  it('names the keys that it cannot open, and exits with 1', async () => {
    await insert(old, 2)
    await insert(lost)
    await query(
      store.databaseUri,
      'UPDATE blob SET sealed_key = set_byte(sealed_key, 40, 255 - get_byte(sealed_key, 40)) WHERE id = 2',
    )
    const { code, stdout, stderr } = await keys(['rotate'])
    expect([code, stdout]).toEqual([1, `1 keys re-sealed to ${current.id}, 2 failed, 2 left\n`])
    expect(stderr.trim().split('\n').sort()).toEqual([
      `bytes: the key of blob 2, sealed to ${old.id}, is left as it is: its private key does not open it`,
      `bytes: the key of blob 3, sealed to ${lost.id}, is left as it is: its private key is not here`,
    ])
    expect((await status()).keys).toEqual([row(current, 1), row(old, 1), row(lost, 1, false)])
    // With its private key it goes as well.
    const both = [old, lost].map(({ privateKey }) => base64(privateKey)).join(', ')
    expect((await keys(['rotate'], { BYTES_OLD_PRIVATE_KEYS_B64: both })).stdout).toBe(
      `1 keys re-sealed to ${current.id}, 1 failed, 1 left\n`,
    )
  })

  it('needs the old private keys only', async () => {
    await insert(old)
    const { code, stderr } = await keys(['rotate'], { BYTES_PRIVATE_KEY_B64: '' })
    expect([code, stderr]).toEqual([
      0,
      `bytes: the private key of ${current.id} is not here: be sure that it is kept elsewhere\n`,
    ])
  })

  it('goes on after kill -9', async () => {
    await insert(old, 4000)
    const child = spawnProcess(['keys', 'rotate', '--batch', '50'], environment)
    const closed = once(child, 'close')
    const rotated = async (): Promise<number> => {
      const [found] = await query<{ n: number }>(
        store.databaseUri,
        'SELECT count(*)::int AS n FROM blob WHERE key_id = $1',
        [current.id],
      )
      return found?.n ?? 0
    }
    while ((await rotated()) === 0 && child.exitCode === null);
    child.kill('SIGKILL')
    await closed
    await eventually(async () => {
      const others = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
        AND backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid()`
      return (await query(store.databaseUri, others)).length === 0
    }, 'the statement that was under way has ended')
    const before = await rotated()
    expect(before).toBeGreaterThan(0)
    expect(before).toBeLessThan(4000)
    const { code, stdout } = await keys(['rotate'])
    expect([code, stdout]).toEqual([
      0,
      `${4000 - before} keys re-sealed to ${current.id}, 0 failed, 0 left\n`,
    ])
  })

  it('refuses to run without a public key', async () => {
    const without = { BYTES_PUBLIC_KEY_B64: '', BYTES_PRIVATE_KEY_B64: '' }
    const { code, stderr } = await keys(['rotate'], without)
    expect([code, stderr]).toEqual([78, expect.stringContaining('BYTES_PUBLIC_KEY_B64: not set')])
  })
})

describe('bytes keys status', () => {
  it('is a table', async () => {
    await insert(lost, 12)
    await insert(null)
    const { code, stdout } = await keys(['status'])
    expect(code).toBe(0)
    expect(stdout.split('\n').map((line) => line.split(/\s{2,}/))).toEqual([
      ['key id', 'blobs', 'current', 'private key'],
      [current.id, '0', 'yes', 'here'],
      [old.id, '0', 'no', 'here'],
      [lost.id, '12', 'no', 'missing'],
      ['none', '1', 'not encrypted'],
      [''],
    ])
  })

  it('is on the metrics page as well', async () => {
    await insert(old, 2)
    await insert(null)
    const service = await store.start()
    const client = await login(service.url)
    const read = async () => (await client.request('/metrics')).text()
    const before = await read()
    expect(sample(before, `bytes_blobs{key_id="${old.id}"}`)).toBe(2)
    expect(sample(before, 'bytes_blobs{key_id="none"}')).toBe(1)
    // Beside the service.
    expect((await keys(['rotate'])).code).toBe(0)
    const after = await read()
    expect(sample(after, `bytes_blobs{key_id="${current.id}"}`)).toBe(2)
    expect(after).not.toContain(old.id)
  })
})

describe('the embedded database', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bytes-test-keys-'))
    // Started by root, Postgres runs as another user, who has to get through.
    await chmod(directory, 0o711)
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))

  it('is that of the service beside, or is started for the command', async () => {
    // Longer than the address of a socket may be.
    const dataDir = join(directory, 'data '.repeat(20), 'data')
    const own = { BYTES_DATA_DIR: dataDir, BYTES_DB_URI: '', BYTES_PORT: '0' }
    const nothing = { keys: [row(current, 0), row(old, 0)], unencrypted: 0 }
    const child = spawnProcess([], { ...environment, ...own, BYTES_LOGGING_FORMAT: 'json' })
    const closed = once(child, 'close')
    try {
      let output = ''
      child.stdout?.on('data', (chunk) => {
        output += chunk
      })
      await eventually(() => output.includes('"serving"'), 'it serves')
      expect(await status(own)).toEqual(nothing)
      const { code, stdout } = await keys(['rotate'], own)
      expect([code, stdout]).toEqual([0, `0 keys re-sealed to ${current.id}, 0 failed, 0 left\n`])
    } finally {
      child.kill('SIGTERM')
      await closed
    }
    expect(await status(own)).toEqual(nothing)
  })

  it('is not made by a command', async () => {
    const own = { BYTES_DATA_DIR: join(directory, 'data'), BYTES_DB_URI: '' }
    const { code, stderr } = await keys(['status'], own)
    expect([code, stderr]).toEqual([
      1,
      `bytes: there is no database in ${own.BYTES_DATA_DIR}: set BYTES_DB_URI or BYTES_DATA_DIR\n`,
    ])
    expect(await readdir(directory)).toEqual([])
  })
})

describe('wrong use', () => {
  it('is answered with the usage', async () => {
    const wrong = [
      [],
      ['shred'],
      ['generate', 'x'],
      ['status', '--yaml'],
      ['rotate', '--batch', '0'],
      ['rotate', '--batch', '10001'],
      ['rotate', '--batch', '1e2'],
    ]
    for (const args of wrong) {
      const { code, stdout, stderr } = await keys(args)
      expect([code, stdout], args.join(' ')).toEqual([64, ''])
      expect(stderr).toMatch(/^bytes: .*\nTry: bytes keys --help\n$/)
    }
  })

  it('of keys ends the start of the service, and shows none of them', async () => {
    const { code, stdout, stderr } = await runProcess([], {
      ...environment,
      BYTES_ENCRYPTION_MIDDLEWARE: 'NACL_SEALBOX',
      BYTES_PRIVATE_KEY_B64: base64(lost.privateKey),
      BYTES_OLD_PRIVATE_KEYS_B64: `${base64(old.privateKey)},${base64(fileKey)}`,
    })
    expect(code).toBe(78)
    expect(stderr).toContain('BYTES_PRIVATE_KEY_B64: does not belong to BYTES_PUBLIC_KEY_B64')
    expect(stderr).toContain('BYTES_OLD_PRIVATE_KEYS_B64: its value (not shown) is not accepted')
    for (const key of [lost.privateKey, old.privateKey, fileKey]) {
      expect(stdout + stderr).not.toContain(base64(key))
    }
  })
})
