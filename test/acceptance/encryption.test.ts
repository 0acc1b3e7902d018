/** Encryption at rest, seen from outside: HTTP, the data directory and the commands. */
import { createHash } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { runProcess, type TestService, type TestStore, testStore } from '../support/service.js'
import { errorsLogged, filesBelow, openWire, query } from './helpers.js'
import { BOUNDARY, contentOf, formBody, jsonBody, sendBody, sha512 } from './streaming-helpers.js'

interface Pair {
  readonly publicKey: string
  readonly privateKey: string
}

const CHUNK = 64 * 1024
const OCTETS = 'application/octet-stream'

async function generatePair(): Promise<Pair> {
  const { code, stdout } = await runProcess(['keys', 'generate'], {})
  expect(code).toBe(0)
  const [, publicKey = '', privateKey = ''] =
    /^BYTES_PUBLIC_KEY_B64=(\S+)\nBYTES_PRIVATE_KEY_B64=(\S+)\n$/.exec(stdout) ?? []
  expect(Buffer.from(publicKey, 'base64')).toHaveLength(32)
  return { publicKey, privateKey }
}

const sealing = ({ publicKey, privateKey }: Pair): Record<string, string> => ({
  BYTES_ENCRYPTION_MIDDLEWARE: 'NACL_SEALBOX',
  BYTES_PUBLIC_KEY_B64: publicKey,
  BYTES_PRIVATE_KEY_B64: privateKey,
})

let first: Pair
let second: Pair
let store: TestStore
let service: TestService
let client: Client

beforeAll(async () => {
  ;[first, second] = await Promise.all([generatePair(), generatePair()])
})

beforeEach(async () => {
  store = await testStore()
})

afterEach(() => store.remove())

async function start(environment: Record<string, string>): Promise<void> {
  service = await store.start(environment)
  client = await login(service.url)
}

async function restart(environment: Record<string, string>): Promise<void> {
  await service.stop()
  await start(environment)
}

async function store1(content: Iterable<Uint8Array>, organization = 'org'): Promise<string> {
  const job = await client.job(organization)
  const headers = { authorization: `Bearer ${client.token}`, 'content-type': OCTETS }
  const path = `/bytes/raw?boefje_meta_id=${job}&tag=x`
  const answer = await sendBody(service.url, path, headers, content)
  expect([answer.status, answer.text]).toEqual([200, expect.any(String)])
  return (JSON.parse(answer.text) as { file: string }).file
}

async function read(id: string, headers: Record<string, string> = {}): Promise<Buffer> {
  const answer = await client.request(`/bytes/raw/${id}`, { headers })
  expect([200, 206]).toContain(answer.status)
  return Buffer.from(await answer.arrayBuffer())
}

/** Paths of the blobs of an organization. */
async function blobs(organization = 'org'): Promise<string[]> {
  const root = join(store.dataDir, 'blobs/v1', organization)
  return (await filesBelow(root)).map((name) => join(root, name))
}

const bytes = (text: string): Buffer[] => [Buffer.from(text)]

describe('with NACL_SEALBOX', () => {
  it('everything that reaches the disk is sealed, and comes back as it was', async () => {
    await start(sealing(first))
    const mark = 'a mark that is easy to find in a file '
    const marked = Buffer.from(mark.repeat(10_000))
    const headers = { authorization: `Bearer ${client.token}` }
    const post = async (type: string, body: Iterable<Uint8Array>) => {
      const path = `/bytes/raw?boefje_meta_id=${await client.job('forms')}`
      const answer = await sendBody(service.url, path, { ...headers, 'content-type': type }, body)
      return Object.values(JSON.parse(answer.text) as Record<string, string>)[0] ?? ''
    }
    const form = `multipart/form-data; boundary=${BOUNDARY}`
    const json = { files: [{ name: 'f', content: marked.toString('base64') }] }
    const ids = [
      await post(OCTETS, [marked]),
      await post(form, formBody([{ name: 'f', fileName: 'f', content: [marked, marked] }])),
      await post('application/json', bytes(JSON.stringify(json))),
      await post('application/json', jsonBody(3 * CHUNK, 'x')),
      await post(OCTETS, bytes('')),
    ]
    expect(await read(ids[0] ?? '')).toEqual(marked)
    expect(await read(ids[1] ?? '')).toEqual(Buffer.concat([marked, marked]))
    expect(await read(ids[2] ?? '')).toEqual(marked)
    expect(sha512([await read(ids[3] ?? '')])).toBe(sha512(contentOf(3 * CHUNK)))
    expect(await read(ids[4] ?? '')).toHaveLength(0)
    const stored = await blobs('forms')
    // The first and the third are equal.
    expect(stored).toHaveLength(4)
    for (const path of stored) {
      const content = await readFile(path)
      expect(content.includes(mark)).toBe(false)
      expect(path.endsWith(createHash('sha512').update(content).digest('hex'))).toBe(true)
    }
    expect(errorsLogged(service.log())).toEqual([])
  })

  it('unfinished resumable uploads are sealed too, and go on after a restart', async () => {
    await start(sealing(first))
    const content = Buffer.from('easy to find '.repeat(20_000))
    const tus = { 'tus-resumable': '1.0.0' }
    const metadata = `boefje_meta_id ${Buffer.from(await client.job()).toString('base64')}`
    const created = await client.request('/bytes/uploads', {
      method: 'POST',
      headers: { ...tus, 'upload-length': String(content.length), 'upload-metadata': metadata },
    })
    const path = created.headers.get('location') ?? ''
    const patch = (offset: number, chunk: Uint8Array) =>
      client.request(path, {
        method: 'PATCH',
        headers: {
          ...tus,
          'upload-offset': String(offset),
          'content-type': 'application/offset+octet-stream',
        },
        body: Buffer.from(chunk),
      })
    expect((await patch(0, content.subarray(0, 100_001))).status).toBe(204)
    const folder = join(store.dataDir, 'uploads')
    for (const name of await readdir(folder)) {
      expect((await readFile(join(folder, name))).includes('easy to find')).toBe(false)
    }
    // Other settings change new uploads only.
    await restart({ ...sealing(first), BYTES_ENCRYPTION_MIDDLEWARE: 'IDENTITY' })
    const head = await client.request(path, { method: 'HEAD', headers: tus })
    expect(head.headers.get('upload-offset')).toBe('100001')
    await restart(sealing(first))
    const done = await patch(100_001, content.subarray(100_001))
    expect(done.status).toBe(204)
    expect(await read(done.headers.get('bytes-raw-id') ?? '')).toEqual(content)
  })

  it('answers are those of the plain content: length, digest, ranges', async () => {
    await start(sealing(first))
    const content = Buffer.concat([...contentOf(5 * CHUNK + 7)])
    const id = await store1([content])
    const head = await client.request(`/bytes/raw/${id}`, { method: 'HEAD' })
    const digest = createHash('sha512').update(content)
    expect(head.headers.get('content-length')).toBe(String(content.length))
    expect(head.headers.get('repr-digest')).toBe(`sha-512=:${digest.copy().digest('base64')}:`)
    expect(head.headers.get('etag')).toBe(`"sha512:${digest.digest('hex')}"`)
    for (const [from, to] of [
      [0, 0],
      [CHUNK - 1, CHUNK],
      [CHUNK, 2 * CHUNK - 1],
      [3 * CHUNK + 5, content.length - 1],
    ] as const) {
      const part = await read(id, { range: `bytes=${from}-${to}` })
      expect(part.equals(content.subarray(from, to + 1))).toBe(true)
    }
    const several = await read(id, { range: 'bytes=10-19,200000-200009' })
    for (const at of [10, 200_000]) {
      expect(several.includes(content.subarray(at, at + 10))).toBe(true)
    }
  })

  it('equal uploads make one blob, one after the other and at the same time', async () => {
    await start(sealing(first))
    for (const size of [10, 3 * CHUNK]) {
      const organization = `org-${size}`
      const ids = await Promise.all(
        Array.from({ length: 6 }, () => store1(contentOf(size), organization)),
      )
      ids.push(await store1(contentOf(size), organization))
      expect(new Set(ids).size).toBe(7)
      expect(await blobs(organization)).toHaveLength(1)
      for (const id of ids) expect(sha512([await read(id)])).toBe(sha512(contentOf(size)))
    }
    expect(await readdir(join(store.dataDir, 'tmp'))).toEqual([])
  })

  it('equal files of one upload make one blob', async () => {
    await start(sealing(first))
    const files = ['a', 'b', 'c'].map((tag) => ({ name: tag, content: 'same', tags: [tag] }))
    const ids = await client.upload(await client.job(), files)
    expect(await blobs()).toHaveLength(1)
    for (const id of Object.values(ids)) expect(String(await read(id))).toBe('same')
  })

  it('damage is told and never served, and an equal upload heals it', async () => {
    await start(sealing(first))
    for (const [size, at] of [
      [100, 50],
      [8 * CHUNK, 5 * CHUNK],
      [8 * CHUNK, -1],
    ] as const) {
      const organization = `damage${size}${at}`
      const id = await store1(contentOf(size), organization)
      const [path = ''] = await blobs(organization)
      const stored = await readFile(path)
      const place = at < 0 ? stored.length + at : at
      stored[place] = (stored[place] ?? 0) ^ 1
      await writeFile(path, stored)

      const wire = await openWire(service.url)
      wire.write(
        `GET /bytes/raw/${id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
          `Authorization: Bearer ${client.token}\r\n\r\n`,
      )
      const answer = await wire.ended
      const [, body = ''] = /\r\n\r\n([\s\S]*)/.exec(answer) ?? []
      if (answer.startsWith('HTTP/1.1 200')) expect(body.length).toBeLessThan(size)
      else expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 500 [\\s\\S]*Raw file ${id}`))
      const whole = Buffer.concat([...contentOf(size)]).toString('latin1')
      if (answer.startsWith('HTTP/1.1 200')) expect(whole.startsWith(body)).toBe(true)

      const again = await store1(contentOf(size), organization)
      for (const each of [id, again]) {
        expect(sha512([await read(each)])).toBe(sha512(contentOf(size)))
      }
      expect(await blobs(organization)).toHaveLength(1)
    }
    const page = await (await client.request('/metrics')).text()
    expect(page).toMatch(/bytes_blob_errors_total\{code="blob_damaged"\} 3/)
  })

  it("another blob's file or key is damage", async () => {
    await start(sealing(first))
    const ids = [await store1(bytes('one content')), await store1(bytes('two content'))]
    const statuses = async () =>
      (await Promise.all(ids.map((id) => client.request(`/bytes/raw/${id}`))))
        .map(({ status }) => status)
        .sort()
    const [a = '', b = ''] = await blobs()
    const [contentOfA, contentOfB] = [await readFile(a), await readFile(b)]
    await writeFile(a, contentOfB)
    expect(await statuses()).toEqual([200, 500])
    await writeFile(a, contentOfA)
    expect(await statuses()).toEqual([200, 200])
    await query(
      store.databaseUri,
      'UPDATE blob SET sealed_key = (SELECT max(sealed_key) FROM blob)',
    )
    expect(await statuses()).toEqual([200, 500])
  })

  it.each([
    ['is gone', 'NULL'],
    ['is damaged', 'set_byte(sealed_key, 40, get_byte(sealed_key, 40) # 1)'],
    ["is another blob's", "(SELECT sealed_key FROM blob WHERE organization = 'other')"],
  ])('a content whose key %s is lost, until it is stored again', async (_, key) => {
    await start(sealing(first))
    await store1(bytes('another'), 'other')
    const id = await store1(bytes('to be shredded'))
    await query(store.databaseUri, `UPDATE blob SET sealed_key = ${key} WHERE organization = 'org'`)
    expect((await client.request(`/bytes/raw/${id}`)).status).toBe(500)
    const again = await store1(bytes('to be shredded'))
    const found = await Promise.all([id, again].map((each) => read(each)))
    expect(found.map(String)).toEqual(['to be shredded', 'to be shredded'])
    expect(await blobs()).toHaveLength(1)
  })

  it.each([
    ['sealed to another key', () => sealing(second)],
    ['plain', () => ({})],
  ])('a content whose private key is lost is stored again: %s', async (_, settings) => {
    await start(sealing(first))
    const id = await store1(bytes('nobody can open it'))
    const [lost] = await blobs()
    await restart(settings())
    expect((await client.request(`/bytes/raw/${id}`)).status).toBe(503)
    const again = await store1(bytes('nobody can open it'))
    const found = await Promise.all([id, again].map((each) => read(each)))
    expect(found.map(String)).toEqual(['nobody can open it', 'nobody can open it'])
    expect(await blobs()).toHaveLength(1)
    expect(await blobs()).not.toContain(lost)
  })

  it('leaves no file of an upload whose job goes before the commit', async () => {
    await start(sealing(first))
    const job = await client.job()
    await query(
      store.databaseUri,
      `CREATE FUNCTION drop_job() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN DELETE FROM boefje_meta; RETURN NEW; END';
       CREATE TRIGGER drop_job BEFORE INSERT ON blob FOR EACH ROW EXECUTE FUNCTION drop_job()`,
    )
    const headers = { authorization: `Bearer ${client.token}`, 'content-type': OCTETS }
    const path = `/bytes/raw?boefje_meta_id=${job}&tag=x`
    const answer = await sendBody(service.url, path, headers, bytes('for nobody'))
    expect(answer.status).toBe(404)
    expect(await blobs()).toEqual([])
  })
})

describe('a node with the public key only', () => {
  it.each([
    ['', () => ({})],
    [' and an old private key', () => ({ BYTES_OLD_PRIVATE_KEYS_B64: second.privateKey })],
  ])('stores, and says which key it lacks for reading: with nothing else%s', async (_, old) => {
    const { BYTES_PRIVATE_KEY_B64: __, ...publicOnly } = sealing(first)
    await start({ ...publicOnly, ...old() })
    const id = await store1(contentOf(200_000))
    const [path] = await blobs()
    const again = await store1(contentOf(200_000))
    expect(await blobs()).toEqual([path])
    for (const each of [id, again]) {
      const answer = await client.request(`/bytes/raw/${each}`)
      expect(answer.status).toBe(503)
      expect(await answer.text()).toMatch(/key [0-9a-f]{16}.*BYTES_PRIVATE_KEY_B64/)
    }
    await restart(sealing(first))
    expect(sha512([await read(id)])).toBe(sha512(contentOf(200_000)))
  })
})

describe('when the setting changes', () => {
  it('old blobs go on being read, both ways, and equal content is still stored once', async () => {
    await start({})
    const plain = await store1(bytes('before'))
    await restart(sealing(first))
    const sealed = await store1(bytes('during'))
    const shared = await store1(bytes('before'))
    expect(await blobs()).toHaveLength(2)
    await restart({ ...sealing(first), BYTES_ENCRYPTION_MIDDLEWARE: 'IDENTITY' })
    const after = await store1(bytes('after'))
    const again = await store1(bytes('during'))
    expect(await blobs()).toHaveLength(3)
    const found = await Promise.all([plain, sealed, shared, after, again].map((id) => read(id)))
    expect(found.map(String)).toEqual(['before', 'during', 'before', 'after', 'during'])
    const onDisk = await Promise.all((await blobs()).map((path) => readFile(path, 'latin1')))
    expect(onDisk.some((content) => content.includes('during'))).toBe(false)
  })
})

describe('keys that cannot be used', () => {
  const environment = {
    BYTES_DB_URI: 'postgresql://u:p@127.0.0.1:1/x',
    BYTES_USERNAME: 'u',
    BYTES_PASSWORD: 'p',
    BYTES_SECRET: 's',
  }

  it('end the start, which says why and shows no private key', async () => {
    const pair = { ...sealing(first), BYTES_PRIVATE_KEY_B64: second.privateKey }
    for (const [settings, why] of [
      [{ BYTES_ENCRYPTION_MIDDLEWARE: 'NACL_SEALBOX' }, /BYTES_PUBLIC_KEY_B64/],
      [{ ...sealing(first), BYTES_PUBLIC_KEY_B64: 'no base64!' }, /BYTES_PUBLIC_KEY_B64/],
      [{ ...sealing(first), BYTES_PUBLIC_KEY_B64: 'AAAA' }, /BYTES_PUBLIC_KEY_B64/],
      [pair, /BYTES_PRIVATE_KEY_B64/],
    ] as const) {
      const { code, stderr, stdout } = await runProcess(['serve'], { ...environment, ...settings })
      expect([code, stderr]).toEqual([78, expect.stringMatching(why)])
      expect(stdout + stderr).not.toContain(second.privateKey)
    }
  })
})

it('after a rotation the old private key is not needed', async () => {
  await start(sealing(first))
  const ids = [await store1(bytes('one')), await store1(contentOf(3 * CHUNK))]
  const before = await blobs()
  const both = { ...sealing(second), BYTES_OLD_PRIVATE_KEYS_B64: first.privateKey }
  await restart(both)
  ids.push(await store1(bytes('three')))
  const environment = {
    ...both,
    BYTES_DB_URI: store.databaseUri,
    BYTES_DATA_DIR: store.dataDir,
    BYTES_USERNAME: 'u',
    BYTES_PASSWORD: 'p',
    BYTES_SECRET: 's',
  }
  // Beside the running service.
  const rotated = await runProcess(['keys', 'rotate'], environment)
  expect([rotated.code, rotated.stderr]).toEqual([0, expect.any(String)])
  for (const id of ids) await read(id)
  const status = await runProcess(['keys', 'status', '--json'], environment)
  expect(status.code).toBe(0)
  await restart(sealing(second))
  expect(String(await read(ids[0] ?? ''))).toBe('one')
  expect(sha512([await read(ids[1] ?? '')])).toBe(sha512(contentOf(3 * CHUNK)))
  expect(String(await read(ids[2] ?? ''))).toBe('three')
  expect(await blobs()).toEqual(expect.arrayContaining(before))
  const page = await (await client.request('/metrics')).text()
  expect(page.match(/^bytes_blobs\{.*\} 3$/m)).not.toBeNull()
})
