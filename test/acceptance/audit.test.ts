/** `bytes audit` on a store that real uploads have filled. */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Client, login } from '../support/client.js'
import { sealing, type TestService, type TestStore, testStore } from '../support/service.js'
import { eventually, filesBelow, query, sample } from './helpers.js'

interface Found {
  readonly kind: string
  readonly organization: string | null
  readonly content_digest: string | null
  readonly address: string | null
  readonly path: string | null
  readonly raw_file_ids: readonly string[]
  readonly detail: string
  readonly removed: boolean
}
interface Report {
  readonly findings: readonly Found[]
  readonly summary: Readonly<Record<string, number | boolean>>
}

let store: TestStore
let service: TestService
let client: Client

beforeEach(async () => {
  store = await testStore()
  service = await store.start({ BYTES_SCRUB_BYTES_PER_SECOND: '0' })
  client = await login(service.url)
})

afterEach(() => store.remove())

const runOn = (databaseUri: string, ...args: string[]) =>
  store.run(['audit', ...args], { BYTES_DB_URI: databaseUri })
const run = (...args: string[]) => runOn(store.databaseUri, ...args)

async function audit(...args: string[]): Promise<Report & { code: number | null }> {
  const { code, stdout, stderr } = await run('--json', ...args)
  expect(stderr).toBe('')
  return { code, ...JSON.parse(stdout) }
}

const sha512 = (content: string | Uint8Array): string =>
  createHash('sha512').update(content).digest('hex')
const folderOf = (address: string): string => join('blobs', 'v1', 'org', address.slice(0, 2))
const pathOf = (content: string): string => {
  const address = sha512(content)
  return join(store.dataDir, folderOf(address), address)
}
const exists = (path: string): Promise<boolean> =>
  readFile(path).then(
    () => true,
    () => false,
  )

/** Stores contents, one raw file each. @returns their ids */
async function stored(...contents: string[]): Promise<string[]> {
  const job = await client.job()
  const files = contents.map((content, i) => ({ name: `${i}`, content, tags: [`slot/${i}`] }))
  const ids = await client.upload(job, files)
  return contents.map((_, i) => ids[`${i}`] ?? '')
}

/** Makes a file of two days ago, and the folders above it. */
async function oldFile(path: string, content = 'left behind'): Promise<void> {
  const whole = join(store.dataDir, path)
  await mkdir(dirname(whole), { recursive: true })
  await writeFile(whole, content)
  await age(whole)
}

async function age(path: string, hours = 48): Promise<void> {
  const then = new Date(Date.now() - hours * 3600 * 1000)
  await utimes(path, then, then)
}

async function flip(path: string): Promise<void> {
  const handle = await open(path, 'r+')
  try {
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, 3)
    await handle.write(Buffer.from([(buffer[0] ?? 0) ^ 1]), 0, 1, 3)
  } finally {
    await handle.close()
  }
}

const kinds = ({ findings }: Report): string[] => findings.map(({ kind }) => kind).sort()

describe('bytes audit', () => {
  it('finds nothing where nothing is wrong', async () => {
    await stored('first', 'second', '', 'x'.repeat(2_000_000))
    await stored('first')
    const { code, findings, summary } = await audit()
    expect(findings).toEqual([])
    expect(summary).toEqual({
      blobs: 4,
      verified: 4,
      verified_bytes: 2_000_011,
      complete: true,
      findings: 0,
      removed: 0,
      young: 0,
    })
    expect(code).toBe(0)
    const text = await run()
    expect(text.code).toBe(0)
    expect(text.stdout).toBe(
      'blobs: 4; contents verified: 4 (2000011 bytes)\nfindings: 0; of them removed: 0\n',
    )
  })

  it('tells what happened to each blob, with its raw files, and heals none', async () => {
    const contents = ['flipped', 'truncated', 'longer', 'removed', 'one of two', 'two of two', 'ok']
    const ids = await stored(...contents)
    const [again] = await stored('flipped')
    await flip(pathOf('flipped'))
    await truncate(pathOf('truncated'), 3)
    await writeFile(pathOf('longer'), 'longer than it was')
    await rm(pathOf('removed'))
    const [one, two] = [pathOf('one of two'), pathOf('two of two')]
    await rename(one, `${one}.x`)
    await rename(two, one)
    await rename(`${one}.x`, two)

    const report = await audit()
    expect(report.code).toBe(1)
    const expected: Record<string, string> = {
      flipped: 'blob_wrong_digest',
      truncated: 'blob_wrong_size',
      longer: 'blob_wrong_size',
      removed: 'blob_missing',
      'one of two': 'blob_wrong_digest',
      'two of two': 'blob_wrong_digest',
    }
    expect(report.findings).toHaveLength(6)
    for (const [content, kind] of Object.entries(expected)) {
      const found = report.findings.find(({ address }) => address === sha512(content))
      expect(found, content).toMatchObject({
        kind,
        organization: 'org',
        content_digest: `sha512:${sha512(content)}`,
        removed: false,
      })
      const id = ids[contents.indexOf(content)]
      expect(found?.raw_file_ids).toEqual(content === 'flipped' ? [id, again] : [id])
    }
    expect(report.summary).toMatchObject({ blobs: 7, verified: 1, verified_bytes: 2, findings: 6 })

    const text = await run('--sweep')
    expect(text.code).toBe(1)
    expect(text.stdout).toContain(`raw files ${ids[0]} ${again}`)
    expect(text.stdout).toContain('findings: 6; of them removed: 0')
    // What is wrong is not served, and the next upload of the same content heals it.
    expect((await client.request(`/bytes/raw/${ids[0]}`)).status).toBe(500)
    await stored(...contents)
    expect((await audit()).findings).toEqual([])
  })

  it('tells of what nothing refers to, and sweeps it when it is old', async () => {
    await stored('kept')
    const address = sha512('without a row')
    const swept = [
      join(folderOf(address), address),
      join(folderOf(address), `${address}.${randomUUID()}.swept`),
      join('blobs', 'v1', 'gone', 'ab', `ab${'0'.repeat(126)}`),
      join('tmp', randomUUID()),
      join('uploads', `${randomUUID()}.data`),
      join('uploads', `${randomUUID()}.json`),
      join('uploads', `${randomUUID()}.json.new`),
    ]
    const strays = [
      join('blobs', 'note.txt'),
      join('blobs', 'v1', 'org', 'zz', address),
      join(folderOf(address), 'note.txt'),
      join(folderOf(sha512('kept')), `cd${'0'.repeat(126)}`),
      join('tmp', 'note.txt'),
      join('uploads', 'note.txt'),
    ]
    for (const path of [...swept, ...strays]) await oldFile(path)
    const young = [
      join(folderOf(sha512('young')), sha512('young')),
      join('tmp', randomUUID()),
      join('uploads', `${randomUUID()}.data`),
    ]
    for (const path of young) {
      await oldFile(path)
      await age(join(store.dataDir, path), 23)
    }
    // A folder where there should be none is told of as one.
    const before = await audit()
    expect(before.code).toBe(1)
    const paths = (report: Report, kind: (name: string) => boolean): string[] =>
      report.findings
        .filter((found) => kind(found.kind))
        .map(({ path }) => path ?? '')
        .sort()
    const isStray = (kind: string): boolean => kind === 'stray_file'
    expect(paths(before, (kind) => !isStray(kind))).toEqual([...swept].sort())
    const strayPaths = strays.map((path) => path.replace(/zz.*/, 'zz')).sort()
    // The folder zz has been made just now.
    await age(join(store.dataDir, 'blobs', 'v1', 'org', 'zz'))
    expect(paths(await audit(), isStray)).toEqual(strayPaths)
    expect(before.summary).toMatchObject({ removed: 0, young: 4 })

    const after = await audit('--sweep', '--sample', '0%')
    expect(after.code).toBe(1)
    expect(after.summary).toMatchObject({ removed: swept.length, young: 3, verified: 0 })
    for (const { kind, removed } of after.findings) expect(removed).toBe(!isStray(kind))
    const left = await filesBelow(store.dataDir)
    expect(left).toEqual([...strays, ...young, relativeOf('kept')].sort())

    for (const path of strays) await rm(join(store.dataDir, path))
    await rm(join(store.dataDir, 'blobs', 'v1', 'org', 'zz'), { recursive: true })
    const short = await audit('--sweep', '--grace', '1h')
    expect([short.code, short.summary.removed]).toEqual([0, 3])
    expect(await filesBelow(store.dataDir)).toEqual([relativeOf('kept')])
  })

  it('sweeps no file with the database of another store, or with an empty one', async () => {
    await stored('of this store', 'and another')
    for (const content of ['of this store', 'and another']) await age(pathOf(content))
    await oldFile(join('tmp', randomUUID()))
    const before = await filesBelow(store.dataDir)
    const other = await testStore()
    try {
      const sweep = async (): Promise<Report & { code: number | null }> => {
        const { code, stdout } = await runOn(other.databaseUri, '--json', '--sweep')
        return { code, ...JSON.parse(stdout) }
      }
      const empty = await sweep()
      expect([empty.code, empty.summary.removed]).toEqual([1, 0])
      expect(empty.findings.at(-1)?.kind).toBe('sweep_refused')
      const foreign = await other.start({ BYTES_SCRUB_BYTES_PER_SECOND: '0' })
      const uploader = await login(foreign.url)
      await uploader.upload(await uploader.job(), [{ name: '0', content: 'theirs', tags: [] }])
      const wrong = await sweep()
      expect([wrong.code, wrong.summary.removed]).toEqual([1, 0])
      expect(wrong.findings.find(({ kind }) => kind === 'sweep_refused')?.detail).toContain(
        '1 of 1 blobs have no file',
      )
      expect(await filesBelow(store.dataDir)).toEqual(before)
    } finally {
      await other.remove()
    }
    expect((await audit('--sweep')).code).toBe(0)
    expect(await filesBelow(store.dataDir)).toHaveLength(2)
  })

  it('sweeps nothing of an organization whose folder is named for a digest', async () => {
    const names = Array.from({ length: 20 }, (_, i) => `${'組織'.repeat(14)}${i}`)
    const ids: string[] = []
    for (const [i, name] of names.entries()) {
      const files = [{ name: 'file', content: `content ${i}`, tags: [] }]
      ids.push((await client.upload(await client.job(name), files)).file ?? '')
    }
    for (const path of await filesBelow(store.dataDir)) await age(join(store.dataDir, path))
    expect(await audit('--sweep')).toMatchObject({ code: 0, findings: [], summary: { blobs: 20 } })
    for (const [i, id] of ids.entries()) {
      expect(await (await client.request(`/bytes/raw/${id}`)).text()).toBe(`content ${i}`)
    }
  })

  it('keeps the record of an upload whose bytes still come, however old it is', async () => {
    await stored('kept')
    const id = randomUUID()
    await oldFile(join('uploads', `${id}.json`), '{}')
    await age(join(store.dataDir, 'uploads', `${id}.json`), 24 * 30)
    await writeFile(join(store.dataDir, 'uploads', `${id}.data`), 'bytes that have just come')
    expect(await audit('--sweep')).toMatchObject({ code: 0, findings: [] })
    expect(await exists(join(store.dataDir, 'uploads', `${id}.json`))).toBe(true)
  })

  it('puts back what a sweep that was killed has set aside', async () => {
    const [id] = await stored('set aside')
    const path = pathOf('set aside')
    await rename(path, `${path}.${randomUUID()}.swept`)
    await age((await filesBelow(store.dataDir)).map((name) => join(store.dataDir, name))[0] ?? '')
    // Until then it is found where it is.
    expect(await (await client.request(`/bytes/raw/${id}`)).text()).toBe('set aside')
    expect(kinds(await audit())).toEqual(['blob_without_row'])
    expect(await audit('--sweep')).toMatchObject({ code: 0, findings: [] })
    expect(await readFile(path, 'utf8')).toBe('set aside')
    expect(await filesBelow(store.dataDir)).toEqual([relativeOf('set aside')])
  })

  it('tells of rows that no raw file names, and sweeps them with their files', async () => {
    const [id] = await stored('deleted', 'kept')
    await query(store.databaseUri, 'DELETE FROM raw_file WHERE id = $1', [id])
    expect(await audit('--sweep')).toMatchObject({ code: 0, findings: [] })
    await query(store.databaseUri, "UPDATE blob SET created_at = now() - interval '2 days'")
    await age(pathOf('deleted'))
    expect(kinds(await audit())).toEqual(['blob_row_unreferenced'])
    const swept = await audit('--sweep')
    expect(swept.code).toBe(0)
    expect(kinds(swept)).toEqual(['blob_row_unreferenced', 'blob_without_row'])
    expect(await exists(pathOf('deleted'))).toBe(false)
    expect(await audit()).toMatchObject({ code: 0, findings: [], summary: { blobs: 1 } })
  })

  it('tells of events that have waited for too long', async () => {
    const [id] = await stored('announced late')
    expect((await audit('--stuck-after', '1h')).code).toBe(0)
    await query(store.databaseUri, "UPDATE outbox SET created_at = now() - interval '2 hours'")
    // There is no broker: they are meant to wait.
    expect((await audit()).code).toBe(0)
    const { code, findings } = await audit('--stuck-after', '1h')
    expect(code).toBe(1)
    expect(findings).toMatchObject([
      { kind: 'event_stuck', organization: 'org', raw_file_ids: [id] },
    ])
  })

  it('reads a share, or for a time, and goes on with what has waited the longest', async () => {
    await stored(...Array.from({ length: 20 }, (_, i) => `content ${i}`))
    const none = await audit('--max-duration', '0s')
    expect([none.code, none.summary.complete, none.summary.verified]).toEqual([0, false, 0])
    const half = await audit('--sample', '50%')
    expect(half.summary.complete).toBe(true)
    expect(half.summary.verified).toBeGreaterThan(0)
    expect(half.summary.verified).toBeLessThan(20)
    const [{ n } = { n: -1 }] = await query<{ n: number }>(
      store.databaseUri,
      'SELECT count(*)::int AS n FROM blob WHERE verified_at IS NOT NULL',
    )
    expect(n).toBe(half.summary.verified)
    await query(store.databaseUri, "UPDATE blob SET created_at = now() - interval '3 days'")
    await query(
      store.databaseUri,
      "UPDATE blob SET verified_at = now() - interval '9 days' WHERE id = (SELECT max(id) FROM blob)",
    )
    const age = async (): Promise<number> =>
      sample(
        await (await client.request('/metrics')).text(),
        'bytes_oldest_unverified_blob_age_seconds',
      ) ?? -1
    expect(Math.floor((await age()) / 86_400)).toBe(9)
    expect((await audit()).summary).toMatchObject({ verified: 20, complete: true })
    expect(await age()).toBeLessThan(60)
  })

  it('refuses what it does not understand', async () => {
    const { code, stderr, stdout } = await run('--sample', '5')
    expect([code, stdout]).toEqual([64, ''])
    expect(stderr).toContain('--sample takes a share')
  })
})

const relativeOf = (content: string): string => join(folderOf(sha512(content)), sha512(content))

describe('the scrub', () => {
  const start = () => store.start({ BYTES_SCRUB_BYTES_PER_SECOND: '100000000' })
  const verified = async (): Promise<number> => {
    const [row] = await query<{ n: number }>(
      store.databaseUri,
      'SELECT count(*)::int AS n FROM blob WHERE verified_at IS NOT NULL',
    )
    return row?.n ?? 0
  }
  const yearOld = () =>
    query(store.databaseUri, "UPDATE blob SET created_at = now() - interval '1 year'")

  it('finds what has gone bad, and says which raw files it is', async () => {
    const contents = Array.from({ length: 30 }, (_, i) => `content ${i} ${'.'.repeat(i * 5000)}`)
    const ids = await stored(...contents)
    await flip(pathOf(contents[4] ?? ''))
    await rm(pathOf(contents[9] ?? ''))
    await yearOld()
    const other = await start()
    await eventually(async () => (await verified()) === 28, 'the right ones are verified')
    const lines = await eventually(() => {
      const told = other
        .log()
        .split('\n')
        .filter((line) => line.includes('missing or damaged'))
      return told.length === 2 && told.map((line) => JSON.parse(line))
    }, 'both are told of')
    for (const [index, code] of [
      [4, 'blob_damaged'],
      [9, 'blob_missing'],
    ] as const) {
      expect(lines.find((line) => line.code === code)).toMatchObject({
        level: 'error',
        organization: 'org',
        rawFileIds: [ids[index]],
        address: sha512(contents[index] ?? ''),
      })
    }
    const page = await (await (await login(other.url)).request('/metrics')).text()
    expect(sample(page, 'bytes_blob_errors_total{code="blob_damaged"}')).toBe(1)
    expect(sample(page, 'bytes_blob_errors_total{code="blob_missing"}')).toBe(1)
    // What is wrong stays the oldest.
    expect(sample(page, 'bytes_oldest_unverified_blob_age_seconds')).toBeGreaterThan(300 * 86_400)
    expect(await other.stop()).toBe(0)
  })

  it('is shared by instances: each blob is read once', async () => {
    await stored(...Array.from({ length: 60 }, (_, i) => `content ${i}`))
    await yearOld()
    await query(
      store.databaseUri,
      `CREATE TABLE reads (id bigint);
       CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         IF NEW.verified_at IS DISTINCT FROM OLD.verified_at THEN
           INSERT INTO reads VALUES (NEW.id);
         END IF;
         RETURN NEW;
       END $$;
       CREATE TRIGGER note AFTER UPDATE ON blob FOR EACH ROW EXECUTE FUNCTION note()`,
    )
    const both = await Promise.all([start(), start()])
    await eventually(async () => (await verified()) === 60, 'all are verified')
    for (const each of both) expect(await each.stop()).toBe(0)
    const rows = await query(store.databaseUri, 'SELECT id FROM reads')
    expect(rows).toHaveLength(60)
  })

  it('reads sealed content without a key, and nothing when it is turned off', async () => {
    await service.stop()
    const writer = await store.start({
      ...(await sealing()),
      BYTES_SCRUB_BYTES_PER_SECOND: '0',
    })
    client = await login(writer.url)
    await stored('a secret', 'another secret')
    const [first = '', second = ''] = await filesBelow(store.dataDir)
    await flip(join(store.dataDir, second))
    await yearOld()
    expect(first).not.toContain(sha512('a secret'))
    const { code, findings, summary } = await audit()
    expect([code, summary.verified]).toEqual([1, 1])
    expect(findings).toMatchObject([{ kind: 'blob_wrong_digest', organization: 'org' }])
    expect(await verified()).toBe(1)
    await query(store.databaseUri, 'UPDATE blob SET verified_at = NULL')
    const withoutKey = await start()
    await eventually(() => withoutKey.log().includes('missing or damaged'), 'it is found')
    await eventually(async () => (await verified()) === 1, 'the other one is verified')
    expect(writer.log()).not.toContain('missing or damaged')
  })
})
