/** A backup that is taken while uploads run, by the very commands of docs/operations.md, is whole. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterAll, expect, inject, it, vi } from 'vitest'
import { type Client, login } from '../support/client.js'
import { isFull } from '../support/fault-report.js'
import { startTestPostgres } from '../support/postgres.js'
import { backupTools } from '../support/postgres-tools.js'
import { readQueue } from '../support/queue.js'
import { runProcess, type TestStore, testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'
import { startTestAuthority } from '../support/tsa.js'

const OPERATIONS = fileURLToPath(new URL('../../docs/operations.md', import.meta.url))
/** Also names that a careless pattern of a copy would leave out. */
const ORGANIZATIONS = ['acme', 'tmp', '*.part', 'Bäckerei & Söhne']
const UPLOADERS = 6
const FILES_BEFORE = isFull ? 2000 : 80
const FILES_BETWEEN = isFull ? 500 : 40

const releases: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const release of releases.reverse()) await release()
})
function released<T extends { stop(): Promise<unknown> }>(value: T): T {
  releases.push(() => value.stop())
  return value
}

/** The commands of the blocks of `sh` in a section, in their order. */
async function commandsOf(section: string): Promise<string[]> {
  const [, text = ''] = (await readFile(OPERATIONS, 'utf8')).split(`\n## ${section}\n`)
  const [own = ''] = text.split('\n## ')
  return [...own.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block = '']) =>
    block.split('\n').filter((line) => line.trim() !== ''),
  )
}

const digestOf = (content: Uint8Array): string =>
  `sha512:${createHash('sha512').update(content).digest('hex')}`

interface Upload {
  readonly job: string
  readonly tag: string
  readonly digest: string
}

/** Uploads on several connections until it is stopped; each file that was acknowledged, by its id. */
function startUploads(client: Client) {
  const done = new Map<string, Upload>()
  let count = 0
  let stopped = false
  const work = async (): Promise<void> => {
    while (!stopped) {
      const job = await client.job(ORGANIZATIONS[count % ORGANIZATIONS.length])
      for (let part = 0; part < 3; part++) {
        const number = count++
        // Every fourth content is there already; every fiftieth is read by more than one piece.
        const seed = number % 4 === 3 ? number % 20 : number
        const content = Buffer.from(`${seed} `.repeat(seed % 50 === 0 ? 400_000 : 1 + seed * 7))
        const ids = await client.upload(job, [{ name: 'a', content, tags: [`part/${part}`] }])
        done.set(ids.a ?? '', { job, tag: `part/${part}`, digest: digestOf(content) })
      }
    }
  }
  const workers = Array.from({ length: UPLOADERS }, work)
  return {
    done,
    reach: (files: number) =>
      vi.waitFor(
        () => {
          if (done.size < files) throw new Error(`${done.size} of ${files} files are stored`)
        },
        { timeout: 240_000, interval: 10 },
      ),
    stop: async () => {
      stopped = true
      await Promise.all(workers)
    },
  }
}

const tools = backupTools()
const missing = 'needs Debian packages postgresql and rsync'

it.skipIf(tools === undefined && !process.env.CI)(
  `a backup taken while uploads run, restored elsewhere${tools ? '' : ` (${missing})`}`,
  async () => {
    if (tools === undefined) throw new Error(`this test ${missing}`)
    const tally = tallyOf('backup', 'raw files restored from a backup under load')
    const server = released(await startTestPostgres(tools))
    const authority = released(await startTestAuthority())
    const folder = await mkdtemp(join(tmpdir(), 'bytes-test-backup-'))
    releases.push(() => rm(folder, { recursive: true, force: true }))
    const queueUri = inject('brokerUris').backup
    const queue = await readQueue(queueUri)
    releases.push(queue.close)
    const settings = {
      BYTES_EXT_HASH_REPOSITORY: 'RFC3161',
      BYTES_RFC3161_PROVIDER: authority.url,
      BYTES_RFC3161_CERT_FILE: authority.rootFile,
      BYTES_TIMESTAMP_BATCH_SIZE: '1000',
    }
    /** Runs a command of the page, in an empty folder and with a folder of ours as `/backup`. */
    const run = async (command: string, { databaseUri, dataDir }: TestStore) =>
      promisify(execFile)('sh', ['-euc', command.replaceAll('/backup/', `${folder}/backup/`)], {
        cwd: folder,
        env: {
          PATH: `${tools}${delimiter}${process.env.PATH}`,
          BYTES_DB_URI: databaseUri,
          BYTES_DATA_DIR: dataDir,
        },
      })

    const source = await testStore(server.uri)
    releases.push(source.remove)
    const first = await source.start(settings)
    const uploads = startUploads(await login(first.url))
    await uploads.reach(FILES_BEFORE)
    const [dump, copy, ...more] = await commandsOf('Back up and restore')
    const before = [...uploads.done.keys()]
    await run(dump ?? '', source)
    await uploads.reach(uploads.done.size + FILES_BETWEEN)
    await run(copy ?? '', source)
    await uploads.reach(uploads.done.size + UPLOADERS)
    await uploads.stop()
    // Nothing of what is restored may come from there.
    await source.remove()

    const restored = await testStore(server.uri)
    releases.push(restored.remove)
    expect(more.slice(0, 2).join()).toMatch(/^pg_restore .*,rsync /)
    for (const command of more.slice(0, 2)) await run(command, restored)
    const database = new pg.Client({ connectionString: restored.databaseUri })
    await database.connect()
    releases.push(() => database.end())
    const service = await restored.start({ ...settings, QUEUE_URI: queueUri })
    const client = await login(service.url)

    const problems = tally.violations
    const { rows } = await database.query<{ id: string; digest: string }>(
      'SELECT r.id, b.content_digest AS digest FROM raw_file r JOIN blob b ON b.id = r.blob_id',
    )
    const ids = new Set(rows.map((row) => row.id))
    for (const id of before) if (!ids.has(id)) problems.push(`${id} is missing in the dump`)
    for (const { id, digest } of rows) {
      tally.tried++
      const answer = await client.request(`/bytes/raw/${id}`)
      const content = Buffer.from(await answer.arrayBuffer())
      if (answer.status !== 200) problems.push(`${id}: ${answer.status} ${content}`)
      else if (digestOf(content) !== digest) problems.push(`${id} has another content`)
      // Those that were under way when the dump began may be in it, too.
      const sent = uploads.done.get(id)
      if (sent && sent.digest !== digest) problems.push(`${id} is not what was sent`)
    }
    expect(problems).toEqual([])
    expect(uploads.done.size).toBeGreaterThanOrEqual(rows.length + FILES_BETWEEN)

    // What waited in the dump goes on: events are announced, and hashes get their timestamps.
    await vi.waitFor(
      async () => {
        const waiting = await database.query(
          'SELECT (SELECT count(*) FROM outbox)::int + (SELECT count(*) FROM pending_hash)::int AS n',
        )
        expect(waiting.rows).toEqual([{ n: 0 }])
        const arrived = new Set(queue.ids())
        expect([...ids].filter((id) => !arrived.has(id))).toEqual([])
      },
      { timeout: 60_000, interval: 100 },
    )
    const verified = await runProcess(['verify', '--all'], {
      ...settings,
      BYTES_DB_URI: restored.databaseUri,
      BYTES_DATA_DIR: restored.dataDir,
      BYTES_USERNAME: 'tester',
      BYTES_PASSWORD: 'a test password',
      BYTES_SECRET: 'a secret that only tests know, 32 bytes',
    })
    expect(verified.stdout).toContain(
      `${rows.length} raw files: ${rows.length} verified, 0 pending`,
    )
    expect(verified.code).toBe(0)

    // The restored store takes files, and knows those that it has.
    const known = [...uploads.done].find(([id]) => ids.has(id))
    const [id, upload] = known ?? expect.fail('nothing that was acknowledged is in the dump')
    const again = [{ name: 'a', content: 'other', tags: [upload.tag] }]
    expect(await client.upload(upload.job, again)).toEqual({ a: id })
    const fresh = await client.upload(await client.job(), [{ name: 'b', content: 'new' }])
    expect(await (await client.request(`/bytes/raw/${fresh.b}`)).text()).toBe('new')
    expect(await service.stop()).toBe(0)
  },
  isFull ? 1_800_000 : 300_000,
)
