/** Verification and evidence from outside, with the real service and a real timestamp authority. */
import { execFile } from 'node:child_process'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { freePort } from '../support/ports.js'
import {
  PASSWORD,
  runProcess,
  spawnProcess,
  type TestService,
  type TestStore,
  testStore,
  USERNAME,
} from '../support/service.js'
import { startTestAuthority, type TestAuthority } from '../support/tsa.js'
import { filesIn, zipOf } from '../support/zip.js'
import { errorsLogged, eventually, filesBelow, openWire } from './helpers.js'

const run = promisify(execFile)
const FREETSA = fileURLToPath(new URL('../../certificates/freetsa-root.pem', import.meta.url))

let authority: TestAuthority
let folder: string
let store: TestStore
let stamping: Record<string, string>

beforeAll(async () => {
  authority = await startTestAuthority()
  stamping = {
    BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
    BYTES_RFC3161_PROVIDER: authority.url,
    BYTES_RFC3161_CERT_FILE: authority.rootFile,
  }
})
afterAll(() => authority?.stop())
beforeEach(async () => {
  store = await testStore()
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-evidence-'))
})
afterEach(async () => {
  await store?.remove()
  await rm(folder, { recursive: true, force: true })
})

interface Verification {
  readonly raw_file: string
  readonly verdict: string
  readonly checks: { name: string; passed: boolean | null; detail: string; time?: string }[]
}
const verificationOf = async (client: Client, id: string): Promise<Verification> =>
  (await client.getJson(`/bytes/raw/${id}/verify`)) as Verification

interface Meta {
  readonly secure_hash: string
  readonly hash_retrieval_link: string | null
}
const metaOf = async (client: Client, id: string): Promise<Meta> =>
  (await client.getJson(`/bytes/raw/${id}/meta`)) as Meta
const linkOf = (client: Client, id: string): Promise<string> =>
  eventually(
    async () => (await metaOf(client, id)).hash_retrieval_link ?? undefined,
    'it is stamped',
  )

async function upload(client: Client, ...contents: (string | Uint8Array)[]): Promise<string[]> {
  const files = contents.map((content, i) => ({ name: `${i}`, content, tags: [`${i}`] }))
  const ids = await client.upload(await client.job(), files)
  return contents.map((_, i) => ids[i] ?? '')
}

/** Runs a command with nothing of the environment but this. */
const bytes = (environment: Record<string, string>, ...args: string[]) =>
  runProcess(args, environment)
const asClient = ({ url }: TestService): Record<string, string> => ({
  BYTES_URL: url,
  BYTES_USERNAME: USERNAME,
  BYTES_PASSWORD: PASSWORD,
  BYTES_RFC3161_CERT_FILE: authority.rootFile,
})
const onTheMachine = (more: Record<string, string> = stamping): Record<string, string> => ({
  BYTES_DB_URI: store.databaseUri,
  BYTES_DATA_DIR: store.dataDir,
  BYTES_USERNAME: USERNAME,
  BYTES_PASSWORD: PASSWORD,
  BYTES_SECRET: 'a secret that only tests know, 32 bytes',
  ...more,
})

/** Downloads and unzips the evidence of a raw file. @returns the folder */
async function evidenceOf(client: Client, id: string): Promise<string> {
  const answer = await client.request(`/bytes/raw/${id}/evidence`)
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/zip'])
  expect(answer.headers.get('content-disposition')).toBe(`attachment; filename=evidence-${id}.zip`)
  const archive = Buffer.from(await answer.arrayBuffer())
  expect(answer.headers.get('content-length')).toBe(String(archive.length))
  const head = await client.request(`/bytes/raw/${id}/evidence`, { method: 'HEAD' })
  expect([head.status, head.headers.get('content-length')]).toEqual([200, String(archive.length)])
  await writeFile(join(folder, `${id}.zip`), archive)
  await run('unzip', ['-q', `${id}.zip`, '-d', id], { cwd: folder })
  return join(folder, id)
}

/** Runs the commands of `VERIFY.md`. @returns the exit code of each block */
async function commandsOf(path: string): Promise<number[]> {
  const guide = await readFile(join(path, 'VERIFY.md'), 'utf8')
  const codes: number[] = []
  for (const [, commands = ''] of guide.matchAll(/^```sh\n([\s\S]*?)^```$/gm)) {
    const code = await run('sh', ['-e', '-c', commands], { cwd: path }).then(
      () => 0,
      (error: { code: number }) => error.code,
    )
    codes.push(code)
  }
  return codes
}

async function blobPathOf(content: Uint8Array): Promise<string> {
  const name = createHash('sha512').update(content).digest('hex')
  const found = (await filesBelow(store.dataDir)).find((path) => path.endsWith(name))
  return join(store.dataDir, found ?? '')
}

describe.each([
  { hashing: 'SHA512', batch: 1 },
  { hashing: 'SHA224', batch: 1 },
  { hashing: 'SHA512', batch: 5 },
  { hashing: 'SHA224', batch: 5 },
])('with $hashing, and $batch files to a timestamp', ({ hashing, batch }) => {
  it('a file is verified by the service, by commands, and by hand', async () => {
    const service = await store.start({
      ...stamping,
      BYTES_HASHING_ALGORITHM: hashing,
      BYTES_TIMESTAMP_BATCH_SIZE: String(batch),
      BYTES_TIMESTAMP_BATCH_SECONDS: '0',
    })
    const client = await login(service.url)
    const contents = Array.from({ length: 5 }, (_, i) => `content ${i}`)
    const ids = await upload(client, ...contents)
    for (const id of ids) await linkOf(client, id)
    const [id = ''] = ids

    const result = await verificationOf(client, id)
    expect(Object.keys(result)).toEqual(['raw_file', 'verdict', 'checks'])
    expect([result.raw_file, result.verdict]).toEqual([id, 'verified'])
    expect(result.checks.map(({ name, passed }) => [name, passed])).toEqual(
      [
        'content_digest',
        'secure_hash',
        ...(batch > 1 ? ['evidence_record', 'hash_tree'] : []),
        'timestamp_format',
        'timestamp_imprint',
        'timestamp_signature',
        'timestamp_certificate',
      ].map((name) => [name, true]),
    )
    expect(result.checks.find(({ name }) => name === 'timestamp_signature')).toMatchObject({
      time: expect.stringMatching(/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$/),
      signer: expect.stringContaining('CN=Timestamp authority for trying out'),
      serial: expect.stringMatching(/^[0-9a-f]+$/i),
    })
    const head = await client.request(`/bytes/raw/${id}/verify`, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])

    const token = await client.request(`/bytes/raw/${id}/timestamp_token`)
    expect([token.status, token.headers.get('content-type')]).toEqual([200, 'application/cms'])
    const der = Buffer.from(await token.arrayBuffer())
    const link = await linkOf(client, id)
    const record = await client.request(`/bytes/raw/${id}/evidence_record`)
    if (batch === 1) {
      expect(link).toBe(der.toString('base64'))
      expect([record.status, await record.json()]).toEqual([
        404,
        { detail: 'There is no evidence record: the raw file has a timestamp of its own' },
      ])
    } else {
      const linked = await client.request(link)
      expect([linked.status, linked.headers.get('content-type')]).toEqual([
        200,
        'application/octet-stream',
      ])
      const both = await Promise.all([linked, record].map((answer) => answer.arrayBuffer()))
      const [a, b] = both.map((body) => Buffer.from(body))
      expect(a?.length).toBeGreaterThan(der.length)
      expect([a?.equals(b ?? Buffer.of()), a?.includes(der)]).toEqual([true, true])
      expect(linked.headers.get('content-length')).toBe(String(a?.length))
    }

    const path = await evidenceOf(client, id)
    expect(await readFile(join(path, 'content'), 'utf8')).toBe('content 0')
    const meta = await (await client.request(`/bytes/raw/${id}/meta`)).text()
    expect(await readFile(join(path, 'raw_meta.json'), 'utf8')).toBe(meta)
    expect(await commandsOf(path)).toEqual([0, 0, 0, 0, 0])
    await writeFile(join(path, 'content'), 'content 1')
    expect(await commandsOf(path)).toEqual([1, 1, 0, 0, 0])

    const bundle = `${path}.zip`
    // Offline: without any settings.
    const offline = await bytes({}, 'verify', bundle, '--anchor', authority.rootFile)
    expect([offline.code, offline.stderr]).toEqual([0, ''])
    expect(offline.stdout).toMatch(/^content digest +ok [\s\S]*\nverified: it existed at 20.*\n$/)
    const untrusted = await bytes({}, 'verify', bundle)
    expect([untrusted.code, untrusted.stdout]).toEqual([1, expect.stringMatching(/\nfailed: /)])
    expect(untrusted.stderr).toMatch(/other trust anchors:\n.*CN=Root for trying out/)
    // The first is no block: a reader that took it for one would show the name of an honest root.
    const honest = await readFile(FREETSA, 'utf8')
    const forged = `x${honest.replace(/-----END.*/s, '')}${await readFile(authority.rootFile, 'utf8')}`
    const files = await filesIn(path)
    const other = files.filter(({ name }) => name !== 'certificates/anchors.pem')
    const disguised = join(folder, 'disguised.zip')
    const name = 'certificates/anchors.pem'
    await writeFile(disguised, await zipOf([...other, { name, content: forged }]))
    const told = await bytes({}, 'verify', disguised)
    expect(told.stderr).toMatch(/other trust anchors:\n.*CN=Root for trying out/)

    const copy = join(folder, 'copy.zip')
    const fetched = await bytes(asClient(service), 'evidence', id, '-o', copy)
    expect(fetched).toEqual({ code: 0, stdout: '', stderr: '' })
    expect((await readFile(copy)).equals(await readFile(bundle))).toBe(true)
    const again = await bytes(asClient(service), 'evidence', id, '-o', copy)
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('use --force')])

    const online = await bytes(asClient(service), 'verify', id)
    expect([online.code, online.stderr]).toEqual([0, ''])
    expect(online.stdout).toBe(
      offline.stdout
        .split('\n')
        .filter((line) => !/^(raw meta|hash tree files) /.test(line))
        .join('\n'),
    )

    const all = await bytes(onTheMachine(), 'verify', '--all')
    expect([all.code, all.stdout]).toEqual([
      0,
      '5 raw files: 5 verified, 0 pending, 0 unverifiable, 0 failed\n',
    ])
    expect(errorsLogged(service.log())).toEqual([])
  })
})

describe('a content that is no longer what it was', () => {
  it('fails, and is told by everything that reads it', async () => {
    const service = await store.start(stamping)
    const client = await login(service.url)
    const contents = [randomBytes(400_000), Buffer.from('lost'), Buffer.from('kept')]
    const [damaged = '', lost = '', kept = ''] = await upload(client, ...contents)
    for (const id of [damaged, lost, kept]) await linkOf(client, id)
    const [first = Buffer.of(), second = Buffer.of()] = contents
    const place = await blobPathOf(first)
    const hurt = Buffer.from(first)
    hurt[399_000] = (hurt[399_000] ?? 0) ^ 1
    await writeFile(place, hurt)
    await rm(await blobPathOf(second))

    for (const id of [damaged, lost]) {
      const { verdict, checks } = await verificationOf(client, id)
      expect(verdict).toBe('failed')
      expect(checks[0]).toMatchObject({ name: 'content_digest', passed: false })
      expect(checks[0]?.detail).toContain(id)
      expect(checks[1]).toMatchObject({ name: 'secure_hash', passed: null })
      // The timestamp is still good.
      expect(checks.at(-1)).toMatchObject({ name: 'timestamp_certificate', passed: true })
    }
    expect((await verificationOf(client, kept)).verdict).toBe('verified')

    const cut = await client.request(`/bytes/raw/${damaged}/evidence`)
    expect(cut.status).toBe(200)
    await expect(cut.arrayBuffer()).rejects.toThrow()
    const bundle = join(folder, 'damaged.zip')
    for (const target of [bundle, '-']) {
      const told = await bytes(asClient(service), 'evidence', damaged, '-o', target)
      const reason = new RegExp(
        `^bytes: (Raw file ${damaged} cannot be read: .+) \\(request (.+)\\)\n$`,
      ).exec(told.stderr)
      expect([told.code, reason?.[1]]).toEqual([1, expect.any(String)])
      const logged = service
        .log()
        .split('\n')
        .filter((line) => line.includes(`${reason?.[2]}`))
      expect(logged.join('\n')).toContain(`Raw file ${damaged} cannot be read`)
    }
    expect(await filesIn(folder)).toEqual([])
    for (const method of ['GET', 'HEAD']) {
      expect((await client.request(`/bytes/raw/${lost}/evidence`, { method })).status).toBe(500)
    }

    const all = await bytes(onTheMachine(), 'verify', '--all')
    expect(all.code).toBe(1)
    const lines = all.stdout.trimEnd().split('\n')
    expect(lines.pop()).toBe('3 raw files: 1 verified, 0 pending, 0 unverifiable, 2 failed')
    expect(lines.sort()).toEqual(
      [damaged, lost]
        .sort()
        .map((id) =>
          expect.stringMatching(`^failed +${id}  content digest: Raw file ${id} cannot`),
        ),
    )
    expect((await bytes(asClient(service), 'verify', damaged)).code).toBe(1)
  })
})

describe('an evidence record that is damaged in the database', () => {
  it('is told, and leaves the timestamp to be had', async () => {
    const service = await store.start({ ...stamping, BYTES_TIMESTAMP_BATCH_SIZE: '10' })
    const client = await login(service.url)
    const [id = '', other = ''] = await upload(client, 'first', 'second')
    const link = await linkOf(client, id)
    await linkOf(client, other)
    const record = /[0-9a-f-]{36}/.exec(link)?.[0] ?? ''
    const database = new pg.Client({ connectionString: store.databaseUri })
    await database.connect()
    const { rowCount } = await database.query(
      `UPDATE evidence_record SET reduced_hash_tree = '\\x3005020100' WHERE id = $1`,
      [record],
    )
    await database.end()
    expect(rowCount).toBe(1)

    for (const path of [`raw/${id}/evidence_record`, `evidence_records/${record}`]) {
      const answer = await client.request(`/bytes/${path}`)
      expect([answer.status, await answer.json()]).toEqual([
        404,
        { detail: expect.stringContaining('The evidence record is damaged in the database: ') },
      ])
    }
    const token = await client.request(`/bytes/raw/${id}/timestamp_token`)
    const der = Buffer.from(await token.arrayBuffer())
    expect([token.status, der.length > 1000]).toEqual([200, true])
    expect((await verificationOf(client, id)).verdict).toBe('failed')
    const path = await evidenceOf(client, id)
    expect(await readFile(join(path, 'timestamp_token.der'))).toEqual(der)
    expect(await readFile(join(path, 'VERIFY.md'), 'utf8')).toContain('cannot be relied on')
    expect((await verificationOf(client, other)).verdict).toBe('verified')
    expect(errorsLogged(service.log())).toEqual([])
  })
})

describe('without a timestamp', () => {
  it('what waits is pending', async () => {
    const service = await store.start({
      ...stamping,
      BYTES_RFC3161_PROVIDER: `http://127.0.0.1:${await freePort()}/tsr`,
    })
    const client = await login(service.url)
    const [id = ''] = await upload(client, 'x')
    expect((await verificationOf(client, id)).verdict).toBe('pending')
    for (const name of ['timestamp_token', 'evidence_record']) {
      const answer = await client.request(`/bytes/raw/${id}/${name}`)
      expect([answer.status, await answer.json()]).toEqual([
        404,
        {
          detail:
            'There is no timestamp: the secure hash still waits for its timestamp: ask again later',
        },
      ])
    }
    const path = await evidenceOf(client, id)
    expect(await readFile(join(path, 'VERIFY.md'), 'utf8')).toMatch(
      /proves no time:\*\*.*still waits/,
    )
    expect(await commandsOf(path)).toEqual([0, 0])
    const online = await bytes(asClient(service), 'verify', id)
    expect([online.code, online.stdout]).toEqual([
      0,
      expect.stringMatching(/\ntimestamp +- +none yet/),
    ])
    expect((await bytes({}, 'verify', `${path}.zip`)).code).toBe(1)
    const all = await bytes(onTheMachine(), 'verify', '--all')
    expect([all.code, all.stdout]).toEqual([
      0,
      '1 raw files: 0 verified, 1 pending, 0 unverifiable, 0 failed\n',
    ])
  })

  it('what no third party has is unverifiable', async () => {
    const service = await store.start()
    const client = await login(service.url)
    const [id = ''] = await upload(client, 'x')
    expect((await verificationOf(client, id)).verdict).toBe('unverifiable')
    const answer = await client.request(`/bytes/raw/${id}/timestamp_token`)
    expect([answer.status, await answer.json()]).toEqual([
      404,
      { detail: 'There is no timestamp: the secure hash was given to no third party' },
    ])
    expect(await commandsOf(await evidenceOf(client, id))).toEqual([0, 0])
    const all = await bytes(onTheMachine({}), 'verify', '--all')
    expect([all.code, all.stdout]).toEqual([
      0,
      '1 raw files: 0 verified, 0 pending, 1 unverifiable, 0 failed\n',
    ])
  })

  it('a job that ended before 1970 has evidence as well', async () => {
    const service = await store.start()
    const client = await login(service.url)
    for (const year of ['0001', '1969', '9999']) {
      const job = await client.job('org', {
        started_at: '0001-01-01T00:00:00Z',
        ended_at: `${year}-12-31T23:59:59Z`,
      })
      const { file = '' } = await client.upload(job, [{ name: 'file', content: year }])
      const path = await evidenceOf(client, file)
      expect(await readFile(join(path, 'content'), 'utf8')).toBe(year)
      expect(await commandsOf(path)).toEqual([0, 0])
    }
    expect(await service.stop()).toBe(0)
  })

  it('what is not there is not found', async () => {
    const { url } = await store.start()
    const client = await login(url)
    for (const path of ['verify', 'evidence', 'timestamp_token', 'evidence_record']) {
      const answer = await client.request(`/bytes/raw/${randomUUID()}/${path}`)
      expect([answer.status, await answer.json()]).toEqual([404, { detail: 'No raw data found' }])
      expect((await fetch(`${url}/bytes/raw/${randomUUID()}/${path}`)).status).toBe(401)
      expect((await client.request(`/bytes/raw/nonsense/${path}`)).status).toBe(422)
    }
    const record = await client.request(`/bytes/evidence_records/${randomUUID()}`)
    expect([record.status, await record.json()]).toEqual([
      404,
      { detail: 'There is no such evidence record' },
    ])
    expect((await client.request('/bytes/evidence_records/nonsense')).status).toBe(422)
  })
})

describe('verify --all', () => {
  it('can be interrupted', async () => {
    const service = await store.start()
    await upload(await login(service.url), 'x')
    const client = new pg.Client({ connectionString: store.databaseUri })
    await client.connect()
    try {
      // Keeps it waiting for its first answer.
      await client.query('BEGIN; LOCK TABLE raw_file IN ACCESS EXCLUSIVE MODE')
      const child = spawnProcess(['verify', '--all'], onTheMachine({}))
      let stdout = ''
      child.stdout?.on('data', (chunk) => {
        stdout += chunk
      })
      const closed = once(child, 'close')
      await eventually(async () => {
        const waiting = 'SELECT 1 FROM pg_locks WHERE NOT granted AND relation = $1::regclass'
        return (await client.query(waiting, ['raw_file'])).rowCount === 1
      }, 'it waits')
      child.kill('SIGINT')
      await client.query('ROLLBACK')
      expect([await closed, stdout]).toEqual([[null, 'SIGINT'], ''])
    } finally {
      await client.end()
    }
  })
})

describe('a client that goes away', () => {
  it('ends the verification, and is no error', async () => {
    const service = await store.start({ BYTES_MAX_BODY_BYTES: String(300 * 1024 * 1024) })
    const client = await login(service.url)
    const job = await client.job()
    const size = 160 * 1024 * 1024
    const answer = await client.request(`/bytes/raw?boefje_meta_id=${job}`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: Buffer.alloc(size),
    })
    const [id] = Object.values((await answer.json()) as Record<string, string>)
    const path = `/bytes/raw/${id}/verify`
    const wire = await openWire(service.url)
    wire.write(`GET ${path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${client.token}\r\n\r\n`)
    wire.socket.end()
    const line = await eventually(
      () =>
        service
          .log()
          .split('\n')
          .find((found) => found.includes(path)),
      'the request is logged',
    )
    expect(JSON.parse(line)).toMatchObject({ status: 400, msg: 'request' })
    expect(errorsLogged(service.log())).toEqual([])
    expect((await verificationOf(client, id ?? '')).checks[0]?.passed).toBe(true)
  })
})
