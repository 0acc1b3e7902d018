import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import type { JobKey } from '../../src/domain/cursor.js'
import type { Listed, MetaRepository, RawFileFilter } from '../../src/domain/meta-repository.js'
import { canonicalMimeTypes, mimeTypesDigest } from '../../src/domain/mime-types.js'
import type { BoefjeMeta } from '../../src/domain/models.js'
import { boefjeMeta, newRawFile, normalizerMeta, storedFiles } from '../support/rows.js'

const PAGE = { limit: 100, offset: 0 }
const everything: RawFileFilter = { organizations: [], rawIds: [], mimeTypes: [] }

/**
 * What every meta repository must do. `setup` gives one, and that of another process on the same
 * data.
 */
export function metaRepositoryContract(
  name: string,
  setup: () => Promise<{ readonly meta: MetaRepository; readonly rival: MetaRepository }>,
): void {
  describe(`${name}: contract of meta repositories`, () => {
    let meta: MetaRepository
    let rival: MetaRepository
    // Tests share what they store in, so each has organizations of its own.
    let organization: string

    beforeEach(async () => {
      ;({ meta, rival } = await setup())
      organization = randomUUID().replaceAll('-', '')
    })

    const insertJobs = async (...jobs: Partial<BoefjeMeta>[]): Promise<BoefjeMeta[]> => {
      const metas = jobs.map((changes) => boefjeMeta({ organization, ...changes }))
      for (const each of metas) await meta.insertBoefjeMeta(each)
      return metas
    }
    const idsOf = (rows: readonly { readonly id: string }[]): string[] => rows.map(({ id }) => id)
    const rawIds = async (filter: RawFileFilter, limit: number): Promise<string[]> =>
      (await meta.listRawFiles(filter, { limit })).rows.map(({ rawFile }) => rawFile.id)

    describe('boefje metas', () => {
      it('come back as they were', async () => {
        const job = boefjeMeta({
          organization,
          boefje: { id: 'b'.repeat(64), version: '1.2.3' },
          inputOoi: '💾'.repeat(1024),
          runnableHash: 'h'.repeat(64),
          environment: '{"A":"1"}',
          arguments: '{"a":[1,{"b":null}]}',
        })
        await meta.insertBoefjeMeta(job)
        expect(await meta.findBoefjeMeta(job.id)).toEqual(job)
        expect(await meta.findBoefjeMeta(randomUUID())).toBeUndefined()
      })

      it('keep JSON to the letter', async () => {
        const texts = [
          '{"n":123456789012345678901234567890,"f":1.10,"e":1E400,"z":-0}',
          '{"b":1,"a":2,"b":3}',
          '{"s":"\\u00e9 é \\"","t":"a\\/b"}',
          `{"deep":${'['.repeat(200)}${']'.repeat(200)}}`,
          '{ "spaces" : [ ] }',
        ]
        for (const text of texts) {
          const [job] = await insertJobs({ arguments: text, environment: '{"K":"\\u0041"}' })
          const found = await meta.findBoefjeMeta(job?.id ?? '')
          expect(found).toMatchObject({ arguments: text, environment: '{"K":"\\u0041"}' })
          const target = await meta.findUploadTarget(job?.id ?? '', [])
          expect(target?.boefjeMeta).toEqual(job)
        }
      })

      it('keep times to the microsecond, over all years', async () => {
        const two = (n: number): string => String(n).padStart(2, '0')
        const instant = fc
          .record({
            year: fc.integer({ min: 1000, max: 9999 }),
            month: fc.integer({ min: 1, max: 12 }),
            day: fc.integer({ min: 1, max: 28 }),
            second: fc.integer({ min: 0, max: 59 }),
            micros: fc.integer({ min: 0, max: 999_999 }),
          })
          .map(({ year, month, day, second, micros }) => {
            const fraction = micros === 0 ? '' : `.${String(micros).padStart(6, '0')}`
            return `${year}-${two(month)}-${two(day)}T23:59:${two(second)}${fraction}Z`
          })
        const examples: [string][] = [
          ['9999-12-31T23:59:59.999999Z'],
          ['1000-01-01T00:00:00.000001Z'],
          ['0001-01-01T00:00:00Z'],
          ['1582-10-10T00:00:00Z'],
          ['2026-01-01T00:00:00.100000Z'],
        ]
        await fc.assert(
          fc.asyncProperty(instant, async (endedAt) => {
            const [job] = await insertJobs({ startedAt: endedAt, endedAt })
            expect(await meta.findBoefjeMeta(job?.id ?? '')).toMatchObject({
              startedAt: endedAt,
              endedAt,
            })
          }),
          { numRuns: 60, examples },
        )
      })

      it('have ids of their own', async () => {
        const [job] = await insertJobs({})
        if (!job) throw new Error('no job')
        const other = { ...job, organization: 'other' }
        await expect(meta.insertBoefjeMeta(other)).rejects.toMatchObject({
          name: 'BytesError',
          code: 'already_exists',
        })
        expect(await meta.findBoefjeMeta(job.id)).toEqual(job)
      })

      it('are listed by organization, boefje and input', async () => {
        const other = boefjeMeta({ organization: `x${organization.slice(1)}` })
        await meta.insertBoefjeMeta(other)
        const jobs = await insertJobs(
          {
            boefje: { id: 'a', version: null },
            inputOoi: 'one',
            startedAt: '2026-01-01T00:00:01Z',
          },
          { boefje: { id: 'b', version: '1' }, inputOoi: null, startedAt: '2026-01-01T00:00:02Z' },
          { boefje: { id: 'a', version: '1' }, inputOoi: 'two', startedAt: '2026-01-01T00:00:03Z' },
          { boefje: { id: 'a', version: '1' }, inputOoi: null, startedAt: '2026-01-01T00:00:04Z' },
        )
        const [one, two, three, four] = jobs
        const list = async (filter: { boefjeId?: string; inputOoi?: string | null }) =>
          (await meta.listBoefjeMeta({ organization, descending: false, ...filter }, PAGE)).rows
        expect(await list({})).toEqual([one, two, three, four])
        expect(await list({ boefjeId: 'a' })).toEqual([one, three, four])
        expect(await list({ inputOoi: null })).toEqual([two, four])
        expect(await list({ inputOoi: 'one' })).toEqual([one])
        expect(await list({ boefjeId: 'a', inputOoi: null })).toEqual([four])
        expect(await list({ boefjeId: 'b', inputOoi: 'one' })).toEqual([])
        expect(await list({ boefjeId: '' })).toEqual([])
      })

      it('are listed by start time, then id, page by page', async () => {
        const startedAt = '2026-01-01T00:00:00.000001Z'
        const jobs = await insertJobs(
          { startedAt: '2026-01-01T00:00:00.000002Z' },
          { startedAt, id: '00000000-0000-4000-8000-00000000000a' },
          { startedAt: '2026-01-01T00:00:00Z' },
        )
        const order = [jobs[2], jobs[1], jobs[0]].map((job) => job?.id)
        const list = async (descending: boolean, page: { limit: number; offset: number }) =>
          idsOf((await meta.listBoefjeMeta({ organization, descending }, page)).rows)
        expect(await list(false, PAGE)).toEqual(order)
        expect(await list(true, PAGE)).toEqual(order.toReversed())
        expect(await list(false, { limit: 1, offset: 1 })).toEqual([order[1]])
        expect(await list(true, { limit: 2, offset: 2 })).toEqual([order[0]])
        expect(await list(true, { limit: 0, offset: 0 })).toEqual([])
        expect(await list(true, { limit: 5, offset: 3 })).toEqual([])
        for (const job of jobs) expect(await meta.findBoefjeMeta(job.id)).toEqual(job)
      })

      it('with values that are too long are refused as such', async () => {
        const long = boefjeMeta({ organization, boefje: { id: 'x'.repeat(65), version: null } })
        const message = 'a value is too long'
        const code = 'invalid_value'
        await expect(meta.insertBoefjeMeta(long)).rejects.toMatchObject({ code, message })
        const nul = boefjeMeta({ organization, inputOoi: 'a\u0000b' })
        await expect(meta.insertBoefjeMeta(nul)).rejects.toMatchObject({ code })
      })
    })

    describe('raw files', () => {
      it('come back as they were', async () => {
        const tags = ['text/html', 'a"b\\c', 'boefje/dns', '💾', '', 'a,b', '{x}', 'NULL']
        const { job, files, ids } = await storedFiles(meta, [tags, []], { organization })
        expect(ids).toEqual(files.map((file) => file.id))
        for (const file of files) {
          expect(await meta.findRawFile(file.id)).toEqual({
            rawFile: {
              id: file.id,
              boefjeMeta: job,
              mimeTypes: file.mimeTypes,
              secureHash: file.secureHash,
              signingProviderUrl: null,
              hashRetrievalLink: file.hashRetrievalLink,
            },
            fileName: file.fileName,
            blob: file.blob,
          })
        }
        expect(await meta.findRawFile(randomUUID())).toBeUndefined()
      })

      it('are found by content, in their organization only', async () => {
        const [job] = await insertJobs({})
        if (!job) throw new Error('no job')
        const [first, second] = [newRawFile(job, ['a'], 'one'), newRawFile(job, ['b'], 'one')]
        const [id = ''] = await meta.commitUpload([first, second])
        const stored = (await meta.findRawFile(id))?.blob
        expect(stored).toEqual(first.blob)
        expect(await meta.findBlob(organization, first.blob.contentDigest)).toEqual(stored)
        const other = newRawFile(job, ['c'], 'two').blob.contentDigest
        expect(await meta.findBlob(organization, other)).toBeUndefined()
        expect(await meta.findBlob('elsewhere', first.blob.contentDigest)).toBeUndefined()
      })

      it('are listed in the order in which they were stored', async () => {
        const sets = Array.from({ length: 20 }, (_, i) => [`type/${(i * 7) % 20}`])
        const { ids } = await storedFiles(meta, sets, { organization })
        const later = await storedFiles(meta, [['a']], { organization })
        const filter = { ...everything, organizations: [organization] }
        expect(await rawIds(filter, 100)).toEqual([...ids, ...later.ids])
        expect(await rawIds(filter, 3)).toEqual(ids.slice(0, 3))
        expect(await rawIds(filter, 0)).toEqual([])
      })

      it('are found by every combination of filters', async () => {
        const second = `x${organization.slice(1)}`
        const organizations = [organization, second]
        const a = await storedFiles(meta, [['x', 'y'], ['x'], []], { organization })
        const b = await storedFiles(meta, [['y', 'z']], { organization: second })
        const [a1 = '', a2 = '', a3 = ''] = a.ids
        const [b1 = ''] = b.ids
        await meta.insertNormalizerMeta(normalizerMeta(a2))
        await meta.insertNormalizerMeta(normalizerMeta(a2))
        await meta.insertNormalizerMeta(normalizerMeta(b1))
        const table: [Partial<RawFileFilter>, string[]][] = [
          [{ organizations }, [a1, a2, a3, b1]],
          [{ organizations: [second] }, [b1]],
          [{ organizations: ['never seen'] }, []],
          [{ boefjeMetaId: a.job.id }, [a1, a2, a3]],
          [{ boefjeMetaId: randomUUID() }, []],
          [{ organizations, normalized: true }, [a2, b1]],
          [{ organizations, normalized: false }, [a1, a3]],
          [{ rawIds: [b1, a1, a1, randomUUID()] }, [a1, b1]],
          [{ organizations, mimeTypes: ['x'] }, [a1, a2]],
          [{ organizations, mimeTypes: ['y', 'x'] }, [a1]],
          [{ organizations, mimeTypes: ['x', 'z'] }, []],
          [{ organizations, mimeTypes: ['X'] }, []],
          [{ organizations: [second], rawIds: [a1] }, []],
          [{ boefjeMetaId: a.job.id, normalized: false, mimeTypes: ['x'] }, [a1]],
          [{ organizations, rawIds: [a1, b1], mimeTypes: ['y'], normalized: true }, [b1]],
        ]
        for (const [filter, expected] of table) {
          const whole = { ...everything, ...filter }
          const { rows: found } = await meta.listRawFiles(whole, { limit: 100 })
          const label = JSON.stringify(filter)
          expect(
            found.map(({ rawFile }) => rawFile.id),
            label,
          ).toEqual(expected)
          const counts = new Map<string, number>()
          for (const type of found.flatMap(({ rawFile }) => rawFile.mimeTypes)) {
            counts.set(type, (counts.get(type) ?? 0) + 1)
          }
          const { rows } = await meta.countMimeTypes(whole, { limit: 100 })
          expect(new Map(rows.map(({ mimeType, files }) => [mimeType, files])), label).toEqual(
            counts,
          )
        }
      })

      it('have their MIME types counted in slices, in one order', async () => {
        const types = [
          '',
          ' ',
          '10',
          '9',
          'A',
          'B/c',
          'a',
          'a b',
          'a-b',
          'ab',
          'Ä',
          'é',
          '𝒳',
          '\uffff',
        ]
        await storedFiles(meta, [types, ['a', 'z'], ...types.map((type) => [type])], {
          organization,
        })
        const filter = { ...everything, organizations: [organization] }
        const whole = await meta.countMimeTypes(filter, { limit: 100 })
        expect(whole.next).toBeUndefined()
        const found = new Map(whole.rows.map(({ mimeType, files }) => [mimeType, files]))
        expect(found).toEqual(
          new Map([...types, 'z'].map((t) => [t, t === 'a' ? 3 : t === 'z' ? 1 : 2])),
        )
        const keys = whole.rows.map(({ mimeType }) => mimeType)
        for (const limit of [1, 2, 7, keys.length]) {
          const rows: (typeof whole.rows)[number][] = []
          let after: string | undefined
          do {
            const slice = await meta.countMimeTypes(filter, { limit, after })
            rows.push(...slice.rows)
            expect(slice.rows.length).toBeLessThanOrEqual(limit)
            const end = await meta.endOfMimeTypes(filter, { limit, after })
            expect(end).toEqual({
              last: slice.rows.at(-1)?.mimeType,
              more: slice.next !== undefined,
            })
            after = slice.next
          } while (after !== undefined)
          expect(rows).toEqual(whole.rows)
        }
        const part = await meta.countMimeTypes(filter, {
          limit: 100,
          after: keys[2],
          until: keys[9],
        })
        expect(part).toMatchObject({ rows: whole.rows.slice(3, 10), next: undefined })
        const none = { limit: 5, after: keys.at(-1) }
        expect(await meta.countMimeTypes(filter, none)).toMatchObject({ rows: [], next: undefined })
        expect(await meta.endOfMimeTypes(filter, none)).toEqual({ last: undefined, more: false })
      })
    })

    describe('normalizer metas', () => {
      it('come back as they were, with the stored raw file', async () => {
        const { ids } = await storedFiles(meta, [['x']], { organization })
        const rawFile = (await meta.findRawFile(ids[0] ?? ''))?.rawFile
        const { rawFileId, ...sent } = normalizerMeta(ids[0] ?? '', {
          normalizer: { id: 'n'.repeat(64), version: '9' },
          startedAt: '1000-01-01T00:00:00.000001Z',
          endedAt: '9999-12-31T23:59:59.999999Z',
        })
        await meta.insertNormalizerMeta({ rawFileId, ...sent })
        expect(await meta.findNormalizerMeta(sent.id)).toEqual({ ...sent, rawFile })
        expect(await meta.findNormalizerMeta(randomUUID())).toBeUndefined()
      })

      it('need an id of their own and a known raw file', async () => {
        const { ids } = await storedFiles(meta, [['x']], { organization })
        const first = normalizerMeta(ids[0] ?? '')
        await meta.insertNormalizerMeta(first)
        await expect(meta.insertNormalizerMeta(first)).rejects.toMatchObject({
          code: 'already_exists',
        })
        const orphan = normalizerMeta(randomUUID())
        await expect(meta.insertNormalizerMeta(orphan)).rejects.toMatchObject({
          code: 'reference_missing',
        })
      })

      it('are listed by organization, normalizer and raw file', async () => {
        const { ids } = await storedFiles(meta, [['x'], ['y']], { organization })
        const other = await storedFiles(meta, [['x']], {
          organization: `x${organization.slice(1)}`,
        })
        const [x = '', y = ''] = ids
        const at = (second: number): string => `2026-01-01T00:00:0${second}Z`
        const one = normalizerMeta(x, { startedAt: at(1), normalizer: { id: 'a', version: null } })
        const two = normalizerMeta(y, { startedAt: at(2), normalizer: { id: 'b', version: null } })
        const three = normalizerMeta(y, {
          startedAt: at(3),
          normalizer: { id: 'a', version: null },
        })
        const foreign = normalizerMeta(other.ids[0] ?? '')
        for (const each of [three, one, foreign, two]) await meta.insertNormalizerMeta(each)
        const list = async (
          filter: { normalizerId?: string; rawId?: string; descending?: boolean },
          page = PAGE,
        ) =>
          idsOf(
            (await meta.listNormalizerMeta({ organization, descending: false, ...filter }, page))
              .rows,
          )
        expect(await list({})).toEqual([one.id, two.id, three.id])
        expect(await list({ descending: true })).toEqual([three.id, two.id, one.id])
        expect(await list({ normalizerId: 'a' })).toEqual([one.id, three.id])
        expect(await list({ rawId: y })).toEqual([two.id, three.id])
        expect(await list({ rawId: y, normalizerId: 'a' })).toEqual([three.id])
        expect(await list({ rawId: other.ids[0] ?? '' })).toEqual([])
        expect(await list({}, { limit: 1, offset: 1 })).toEqual([two.id])
      })
    })

    describe('uploads', () => {
      it('find their job and what it has already', async () => {
        const { job, files } = await storedFiles(meta, [['x'], ['x', 'y'], ['z']], { organization })
        const [x, xy] = files
        const absent = mimeTypesDigest(canonicalMimeTypes(['absent']))
        const digests = [x?.mimeTypesDigest, xy?.mimeTypesDigest, absent].filter(
          (d) => d !== undefined,
        )
        const target = await meta.findUploadTarget(job.id, digests)
        expect(target?.boefjeMeta).toEqual(job)
        expect(target?.existing).toEqual(
          new Map([x, xy].map((file) => [file?.mimeTypesDigest.toString('hex'), file?.id])),
        )
        const [empty] = await insertJobs({})
        expect(await meta.findUploadTarget(empty?.id ?? '', digests)).toEqual({
          boefjeMeta: empty,
          existing: new Map(),
          blobs: new Map(),
        })
        expect(await meta.findUploadTarget(randomUUID(), digests)).toBeUndefined()
      })

      it('are told of the blobs that their organization has of their contents', async () => {
        const { job, files } = await storedFiles(meta, [['x'], ['y']], { organization })
        const stranger = boefjeMeta({ organization: `y${organization.slice(1)}` })
        await meta.insertBoefjeMeta(stranger)
        const digests = [...files.map(({ blob }) => blob.contentDigest), 'sha512:unknown']
        const blobsOf = async (id: string) => [
          ...((await meta.findUploadTarget(id, [], digests))?.blobs.values() ?? []),
        ]
        const expected = files.map(({ blob }) => blob)
        expect(await blobsOf(job.id)).toEqual(expect.arrayContaining(expected))
        expect(await blobsOf(job.id)).toHaveLength(2)
        expect(await blobsOf(stranger.id)).toEqual([])
        // Also when they are asked for together, each gets its own.
        const [mine, theirs, none] = await Promise.all([
          meta.findUploadTarget(job.id, [], digests.slice(0, 1)),
          meta.findUploadTarget(stranger.id, [], digests),
          meta.findUploadTarget(job.id, [], []),
        ])
        expect([...(mine?.blobs.values() ?? [])]).toEqual(expected.slice(0, 1))
        expect([theirs?.blobs.size, none?.blobs.size]).toEqual([0, 0])
      })

      it('keep the key of a blob with it, and may have the blob elsewhere', async () => {
        const job = boefjeMeta({ organization })
        await meta.insertBoefjeMeta(job)
        const file = newRawFile(job, ['x'])
        const sealedKey = { keyId: '0123456789abcdef', sealed: Buffer.from([0, 1, 255]) }
        const sealed = { ...file.blob, middleware: 'NACL_SEALBOX' as const, sealedKey }
        await meta.commitUpload([{ ...file, blob: sealed }])
        const found = async () => (await meta.findRawFile(file.id))?.blob
        expect(await found()).toEqual(sealed)
        const { contentDigest } = sealed
        const target = await meta.findUploadTarget(job.id, [], [contentDigest])
        expect(target?.blobs.get(contentDigest)).toEqual(sealed)
        expect(await meta.findBlob(organization, contentDigest)).toEqual(sealed)

        const moved = { ...sealed, address: 'b'.repeat(128), storedSize: 99 }
        await meta.replaceBlob({ ...sealed, address: 'c'.repeat(128) }, moved)
        expect(await found()).toEqual(sealed)
        await meta.replaceBlob(sealed, moved)
        expect(await found()).toEqual(moved)
        const plain = { ...moved, address: sealed.address, middleware: 'IDENTITY' as const }
        await meta.replaceBlob(moved, { ...plain, sealedKey: null })
        expect(await found()).toEqual({ ...plain, sealedKey: null })
      })

      it('leave an event for each new file', async () => {
        const before = (await meta.outboxState()).depth
        const { job } = await storedFiles(meta, [['x'], ['y']], { organization })
        expect((await meta.outboxState()).depth).toBe(before + 2)
        await meta.commitUpload([newRawFile(job, ['x']), newRawFile(job, ['z'])])
        const state = await meta.outboxState()
        expect(state.depth).toBe(before + 3)
        expect(state.oldestAgeSeconds).toBeGreaterThan(0)
      })

      it('give the first file of a job and a set of types for all later ones', async () => {
        const { job, ids, files } = await storedFiles(meta, [['x']], { organization })
        const again = newRawFile(job, ['x'])
        const fresh = newRawFile(job, ['y'])
        expect(await meta.commitUpload([fresh, again])).toEqual([fresh.id, ids[0]])
        const kept = await meta.findRawFile(ids[0] ?? '')
        expect(kept?.blob.contentDigest).toBe(files[0]?.blob.contentDigest)
        expect(await meta.findRawFile(again.id)).toBeUndefined()
      })

      it('share equal blobs inside an organization, and not beyond it', async () => {
        const [job, second] = await insertJobs({}, {})
        const third = boefjeMeta({ organization: `x${organization.slice(1)}` })
        await meta.insertBoefjeMeta(third)
        if (!job || !second) throw new Error('no job')
        const content = 'the same twelve'
        await meta.commitUpload([newRawFile(job, ['x'], content), newRawFile(job, ['y'], content)])
        await meta.commitUpload([newRawFile(second, ['x'], content)])
        await meta.commitUpload([newRawFile(third, ['x'], content)])
        const counts = await meta.countByOrganization()
        const size = content.length
        expect(counts.filter((row) => row.organization.endsWith(organization.slice(1)))).toEqual(
          [
            { organization, rawFiles: 3, storedBytes: size, savedBytes: 2 * size },
            { organization: third.organization, rawFiles: 1, storedBytes: size, savedBytes: 0 },
          ].sort((a, b) => (a.organization < b.organization ? -1 : 1)),
        )
      })

      it('need their job', async () => {
        const file = newRawFile(boefjeMeta({ organization }), ['x'])
        const before = (await meta.outboxState()).depth
        await expect(meta.commitUpload([file])).rejects.toMatchObject({
          name: 'BytesError',
          code: 'boefje_meta_not_found',
        })
        expect(await meta.findRawFile(file.id)).toBeUndefined()
        expect((await meta.outboxState()).depth).toBe(before)
      })

      it('that fail do not take with them those that come at the same time', async () => {
        const jobs = await insertJobs(...Array.from({ length: 20 }, () => ({})))
        const missing = boefjeMeta({ organization })
        const files = jobs.map((job) => newRawFile(job, ['x']))
        const uploads = files.flatMap((file, i) => [
          meta.commitUpload([file]),
          i % 2 === 0
            ? meta.commitUpload([newRawFile(missing, [`${i}`])])
            : meta.commitUpload([{ ...newRawFile(missing, ['y']), secureHash: 'x'.repeat(257) }]),
        ])
        const results = await Promise.allSettled(uploads)
        const codes = results.map((result) =>
          result.status === 'fulfilled' ? String(result.value) : result.reason.code,
        )
        expect(codes).toEqual(
          files.flatMap((file, i) => [
            file.id,
            i % 2 === 0 ? 'boefje_meta_not_found' : 'invalid_value',
          ]),
        )
        for (const { id } of files) expect((await meta.findRawFile(id))?.rawFile.id).toBe(id)
      })

      it('of no files do nothing', async () => {
        expect(await meta.commitUpload([])).toEqual([])
      })

      it('of many files work', async () => {
        const sets = Array.from({ length: 500 }, (_, i) => [`type/${i}`, 'common'])
        const { ids } = await storedFiles(meta, sets, { organization })
        expect(new Set(ids).size).toBe(500)
      })

      it('that are equal and at once store one file, and all learn its id', async () => {
        for (let round = 0; round < 20; round++) {
          const [job] = await insertJobs({})
          if (!job) throw new Error('no job')
          const before = (await meta.outboxState()).depth
          const rivals = Array.from({ length: 6 }, () => [
            newRawFile(job, ['x'], 'same'),
            newRawFile(job, ['y'], 'same'),
          ])
          const answers = await Promise.all(
            rivals.map((files, i) => (i % 2 ? meta : rival).commitUpload(files)),
          )
          expect(new Set(answers.map(String)).size).toBe(1)
          const found = await rawIds({ ...everything, boefjeMetaId: job.id }, 10)
          expect(new Set(found)).toEqual(new Set(answers[0]))
          expect((await meta.outboxState()).depth).toBe(before + 2)
        }
      })

      const tags = (count: number): string[] => Array.from({ length: count }, (_, i) => `t/${i}`)

      /** Two uploads at once of the same files, in opposite order. */
      async function opposed(count: number, content: string): Promise<void> {
        const [job] = await insertJobs({})
        if (!job) throw new Error('no job')
        const files = () => tags(count).map((tag) => newRawFile(job, [tag], `${content} ${tag}`))
        const [forth, back] = await Promise.all([
          meta.commitUpload(files()),
          rival.commitUpload(files().reverse()),
        ])
        expect(back.toReversed()).toEqual(forth)
        const found = await rawIds({ ...everything, boefjeMetaId: job.id }, count + 1)
        expect(found.toSorted()).toEqual(forth.toSorted())
      }

      it('that overlap in opposite order all succeed, with one file each', async () => {
        const rounds = Array.from({ length: 50 }, () => opposed(4, organization))
        await Promise.all(rounds)
      })

      it('that overlap in opposite order and whose blobs are known succeed as well', async () => {
        // Nothing makes these wait for each other before they insert their files.
        const [first] = await insertJobs({})
        if (!first) throw new Error('no job')
        const count = 150
        await meta.commitUpload(
          tags(count).map((tag) => newRawFile(first, [tag], `${organization} ${tag}`)),
        )
        const rounds = Array.from({ length: 24 }, () => opposed(count, organization))
        await Promise.all(rounds)
      })
    })

    describe('pages', () => {
      /** Goes to the end of a list; `between` runs after each page. */
      async function walk<Row, Key>(
        list: (after: Key | undefined) => Promise<Listed<Row, Key>>,
        between: () => Promise<unknown>,
      ): Promise<Row[]> {
        const all: Row[] = []
        let after: Key | undefined
        do {
          const { rows, next }: Listed<Row, Key> = await list(after)
          all.push(...rows)
          after = next
          await between()
        } while (after !== undefined)
        return all
      }
      /** Few enough that many are equal. */
      const time = fc
        .integer({ min: 0, max: 3 })
        .map((micros) => `2026-01-01T00:00:00${micros === 0 ? '' : `.00000${micros}`}Z`)
      const times = { minLength: 1, maxLength: 12 }
      const walks = fc.record({
        before: fc.array(time, times),
        // One of these is stored after each page.
        meanwhile: fc.array(time, times),
        limit: fc.integer({ min: 1, max: 5 }),
        descending: fc.boolean(),
      })
      /** By start time, then id; equal lengths make text order that of time. */
      const sorted = (rows: readonly { startedAt: string; id: string }[], descending: boolean) => {
        const keyed = rows.map(({ startedAt, id }) => ({
          key: `${startedAt.replace(/(:\d\d)Z/, '$1.000000Z')} ${id}`,
          id,
        }))
        const up = keyed.toSorted((a, b) => (a.key < b.key ? -1 : 1)).map(({ id }) => id)
        return descending ? up.reverse() : up
      }
      /** What is listed has what was there all along, once and in order, and strays from no order. */
      const expectWhole = (found: string[], there: string[], all: string[]): void => {
        expect(found.filter((id) => there.includes(id))).toEqual(there)
        expect(found).toEqual(all.filter((id) => found.includes(id)))
      }

      it('of jobs give each once and in order, while others are stored', async () => {
        const run = fc.asyncProperty(walks, async ({ before, meanwhile, limit, descending }) => {
          organization = randomUUID().replaceAll('-', '')
          const there = await insertJobs(...before.map((startedAt) => ({ startedAt })))
          const more = [...meanwhile]
          const found = await walk<BoefjeMeta, JobKey>(
            (after) =>
              meta.listBoefjeMeta({ organization, descending }, { limit, offset: 0, after }),
            async () => {
              const startedAt = more.pop()
              if (startedAt !== undefined) await insertJobs({ startedAt })
            },
          )
          const all = await meta.listBoefjeMeta({ organization, descending }, PAGE)
          expectWhole(idsOf(found), sorted(there, descending), sorted(all.rows, descending))
          expect(idsOf(all.rows)).toEqual(sorted(all.rows, descending))
        })
        await fc.assert(run, { numRuns: 40 })
      })

      it('of normalizer metas give each once and in order, while others are stored', async () => {
        const run = fc.asyncProperty(walks, async ({ before, meanwhile, limit, descending }) => {
          organization = randomUUID().replaceAll('-', '')
          const [rawId = ''] = (await storedFiles(meta, [['x']], { organization })).ids
          const insert = async (startedAt: string) => {
            const each = normalizerMeta(rawId, { startedAt })
            await meta.insertNormalizerMeta(each)
            return each
          }
          const there = []
          for (const startedAt of before) there.push(await insert(startedAt))
          const more = [...meanwhile]
          const filter = { organization, rawId, descending }
          const found = await walk(
            (after: JobKey | undefined) =>
              meta.listNormalizerMeta(filter, { limit, offset: 0, after }),
            async () => {
              const startedAt = more.pop()
              if (startedAt !== undefined) await insert(startedAt)
            },
          )
          const all = await meta.listNormalizerMeta(filter, PAGE)
          expectWhole(idsOf(found), sorted(there, descending), sorted(all.rows, descending))
        })
        await fc.assert(run, { numRuns: 40 })
      })

      it('of raw files give each once and in order, also those that are stored meanwhile', async () => {
        const run = fc.asyncProperty(
          fc.integer({ min: 1, max: 12 }),
          fc.integer({ min: 0, max: 4 }),
          fc.integer({ min: 1, max: 5 }),
          async (before, meanwhile, limit) => {
            organization = randomUUID().replaceAll('-', '')
            const sets = Array.from({ length: before }, (_, i) => [`type/${i}`])
            const { job, ids } = await storedFiles(meta, sets, { organization })
            let left = meanwhile
            const filter = { ...everything, organizations: [organization, 'another'] }
            const found = await walk(
              (after: number | undefined) => meta.listRawFiles(filter, { limit, after }),
              async () => {
                if (left-- <= 0) return
                const other = { id: job.id, organization }
                ids.push(...(await meta.commitUpload([newRawFile(other, [`more/${left}`])])))
              },
            )
            const listed = found.map(({ rawFile }) => rawFile.id)
            // What is stored after the last page was read is on no page.
            expect(listed).toEqual(ids.slice(0, listed.length))
            expect(listed.length).toBeGreaterThanOrEqual(before)
          },
        )
        await fc.assert(run, { numRuns: 40 })
      })

      it('tell whether others follow', async () => {
        await insertJobs({}, {}, {})
        const nextOf = async (limit: number, offset = 0, filter = {}) => {
          const all = { organization, descending: true, ...filter }
          return (await meta.listBoefjeMeta(all, { limit, offset })).next
        }
        expect(await nextOf(2)).toBeDefined()
        expect(await nextOf(1, 1)).toBeDefined()
        expect(await nextOf(3)).toBeUndefined()
        expect(await nextOf(2, 1)).toBeUndefined()
        expect(await nextOf(0)).toBeUndefined()
        expect(await nextOf(5, 5)).toBeUndefined()
        expect(await nextOf(2, 0, { boefjeId: 'none' })).toBeUndefined()
        expect(await nextOf(Number.MAX_SAFE_INTEGER)).toBeUndefined()
      })

      it('begin an offset after the key, and need no row that has it', async () => {
        const jobs = await insertJobs({}, {}, {}, {})
        const ids = sorted(jobs, false)
        const list = async (after: JobKey, descending: boolean, offset: number) =>
          idsOf(
            (await meta.listBoefjeMeta({ organization, descending }, { ...PAGE, offset, after }))
              .rows,
          )
        const startedAt = '2026-01-01T00:00:00Z'
        expect(await list({ startedAt, id: ids[0] ?? '' }, false, 1)).toEqual(ids.slice(2))
        expect(await list({ startedAt, id: ids[2] ?? '' }, true, 1)).toEqual(ids.slice(0, 1))
        const beforeAll = { startedAt: '2025-12-31T23:59:59.999999Z', id: randomUUID() }
        expect(await list(beforeAll, false, 0)).toEqual(ids)
        expect(await list(beforeAll, true, 0)).toEqual([])
        const afterAll = { startedAt: '2026-01-01T00:00:00.000001Z', id: randomUUID() }
        expect(await list(afterAll, false, 0)).toEqual([])
        expect(await list(afterAll, true, 3)).toEqual(ids.slice(0, 1))
      })
    })

    it('answers checks', async () => {
      await meta.check()
    })
  })
}
