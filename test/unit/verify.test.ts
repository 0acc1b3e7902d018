import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { BytesError } from '../../src/domain/errors.js'
import type { Check, HashVerifier } from '../../src/domain/hash-repository.js'
import type { StoredRawFile } from '../../src/domain/models.js'
import { Budget } from '../../src/flows/budget.js'
import {
  MOST_VERIFIED,
  type VerifyPorts,
  verdictOf,
  verifyRawFile,
} from '../../src/flows/verify.js'
import { verifyAll } from '../../src/flows/verify-all.js'
import { type MemoryStore, memoryStore } from '../support/evidence.js'

const ROOT = readFileSync(new URL('../../certificates/freetsa-root.pem', import.meta.url), 'utf8')

let store: MemoryStore
beforeEach(() => {
  store = memoryStore(ROOT, 'http://127.0.0.1:1')
})

const passed = (name: string): Check => ({ name, passed: true, detail: 'fine' })

/** Knows links that begin with `test:`. */
function testVerifier(checks: readonly Check[], thirdParty = true): HashVerifier {
  return {
    thirdParty,
    recognizes: (link) => link.startsWith('test:'),
    verify: async () => checks,
  }
}

const withVerifier = (verifier: HashVerifier): VerifyPorts => ({
  ...store.ports,
  verifiers: [...store.ports.verifiers, verifier],
})

const outcomes = (checks: readonly Check[]): Record<string, boolean | null> =>
  Object.fromEntries(checks.map((check) => [check.name, check.passed]))

describe('a raw file', () => {
  it.each(['sha512', 'sha224'] as const)('is verified, by %s', async (algorithm) => {
    const content = Buffer.alloc(2500, 7)
    const file = store.link(store.add({ content, algorithm }), 'test:1')
    const ports = withVerifier(testVerifier([passed('one'), passed('two')]))
    expect(await verifyRawFile(ports, file)).toEqual({
      rawFileId: file.rawFile.id,
      verdict: 'verified',
      checks: [
        { name: 'content_digest', passed: true, detail: file.blob.contentDigest },
        { name: 'secure_hash', passed: true, detail: file.rawFile.secureHash },
        passed('one'),
        passed('two'),
      ],
    })
    expect(store.open()).toBe(0)
  })

  it('fails with another content, and the checks say what is recorded', async () => {
    const file = store.link(store.add(), 'test:1')
    store.contents.set(file.rawFile.id, Buffer.from('another'))
    const { verdict, checks } = await verifyRawFile(withVerifier(testVerifier([])), file)
    expect(verdict).toBe('failed')
    expect(outcomes(checks)).toEqual({ content_digest: false, secure_hash: false })
    expect(checks[0]?.detail).toMatch(
      new RegExp(`^sha512:[0-9a-f]{128}, recorded ${file.blob.contentDigest}$`),
    )
  })

  it('fails with another end time of its job', async () => {
    const file = store.add()
    const { boefjeMeta } = file.rawFile
    const later = { ...boefjeMeta, endedAt: '2026-01-01T00:10:00.123457Z' }
    const changed = { ...file, rawFile: { ...file.rawFile, boefjeMeta: later } }
    const { verdict, checks } = await verifyRawFile(store.ports, changed)
    expect([verdict, outcomes(checks)]).toEqual([
      'failed',
      { content_digest: true, secure_hash: false, retrieval_link: null },
    ])
  })

  it.each([
    ['blob_missing', 'failed', false],
    ['blob_damaged', 'failed', false],
    ['key_missing', 'unverifiable', null],
  ] as const)('%s is %s', async (code, verdict, digest) => {
    const file = store.link(store.add(), 'test:1')
    store.faults.set(file.rawFile.id, code)
    const result = await verifyRawFile(withVerifier(testVerifier([passed('link')])), file)
    expect(result.verdict).toBe(verdict)
    expect(outcomes(result.checks)).toEqual({
      content_digest: digest,
      secure_hash: null,
      link: true,
    })
    expect(result.checks[0]?.detail).toMatch(
      new RegExp(`Raw file ${file.rawFile.id} cannot be read`),
    )
    expect(store.counted).toEqual(code === 'key_missing' ? [] : [code])
  })

  it.each(['storage_unavailable', 'database_unavailable'] as const)(
    '%s is thrown',
    async (code) => {
      const file = store.add()
      store.faults.set(file.rawFile.id, code)
      await expect(verifyRawFile(store.ports, file)).rejects.toMatchObject({ code })
    },
  )

  it('is pending while it waits, whatever cannot be read', async () => {
    const file = store.add()
    store.pending.add(file.rawFile.id)
    const { verdict, checks } = await verifyRawFile(store.ports, file)
    expect([verdict, checks.at(-1)?.detail]).toEqual([
      'pending',
      'the secure hash waits to be given to a third party',
    ])
    store.contents.set(file.rawFile.id, Buffer.from('x'))
    expect((await verifyRawFile(store.ports, file)).verdict).toBe('failed')
  })

  it('gets the link that came while it was read', async () => {
    const file = store.add()
    store.link(file, 'test:1')
    const ports = withVerifier(testVerifier([passed('link')]))
    expect((await verifyRawFile(ports, file)).verdict).toBe('verified')
  })

  it.each<[string, (file: StoredRawFile) => StoredRawFile, string]>([
    ['without a link', (file) => file, 'the secure hash was given to no third party'],
    [
      'with a link of an unknown kind',
      (file) => store.link(file, 'what is this'),
      'the link is of a kind that is not known here',
    ],
    [
      'with a link of the service itself',
      (file) =>
        store.link(
          file,
          randomUUID()
            .replace(/^(.{14})./, '$18')
            .replace(/^(.{19})./, '$18'),
        ),
      'not given for this hash since this process has started',
    ],
  ])('%s is unverifiable', async (_, prepare, detail) => {
    const { verdict, checks } = await verifyRawFile(store.ports, prepare(store.add()))
    expect(verdict).toBe('unverifiable')
    expect(checks.at(-1)).toEqual({ name: 'retrieval_link', passed: null, detail })
  })

  it.each([
    [null, 'the raw file has no secure hash'],
    ['md5:00', 'the secure hash is not one by SHA-512 or SHA-224'],
    ['sha512:00', 'the secure hash is not one by SHA-512 or SHA-224'],
  ])('with the secure hash %s is unverifiable', async (secureHash, detail) => {
    const file = store.add({ rawFile: { secureHash, hashRetrievalLink: 'test:1' } })
    const ports = withVerifier(testVerifier([passed('link')]))
    const { verdict, checks } = await verifyRawFile(ports, file)
    expect(verdict).toBe('unverifiable')
    expect(checks[0]?.passed).toBe(true)
    expect(checks[1]).toEqual({ name: 'secure_hash', passed: null, detail })
  })

  it('is not read any further when nobody waits for it', async () => {
    const file = store.add({ content: Buffer.alloc(10_000) })
    const gone = new AbortController()
    let pieces = 0
    const raw: VerifyPorts['raw'] = {
      get: async (...args) => {
        const content = await store.ports.raw.get(...args)
        return (async function* () {
          for await (const piece of content) {
            pieces += 1
            if (pieces === 3) gone.abort()
            yield piece
          }
        })()
      },
    }
    const ports = { ...store.ports, raw }
    await expect(verifyRawFile(ports, file, gone.signal)).rejects.toMatchObject({
      name: 'AbortError',
    })
    expect([pieces, store.open()]).toEqual([3, 0])
  })
})

describe('contents that are verified at the same time', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  /** Contents that come when they are let, and how many are open. */
  function slow() {
    let most = 0
    let open = 0
    const waiting: (() => void)[] = []
    const raw: VerifyPorts['raw'] = {
      get: async (blob) => {
        most = Math.max(most, ++open)
        await new Promise<void>((resolve) => waiting.push(resolve))
        const content = await store.ports.raw.get(blob)
        return (async function* () {
          yield* content
          open -= 1
        })()
      },
    }
    return { raw, waiting, most: () => most }
  }

  it('have a bound, and are all answered in order', async () => {
    const { raw, waiting, most } = slow()
    const ports = { ...store.ports, raw, places: new Budget(MOST_VERIFIED) }
    const answered: number[] = []
    const all = Array.from({ length: 20 }, async (_, n) => {
      const { checks } = await verifyRawFile(ports, store.add())
      expect(checks[0]?.passed).toBe(true)
      answered.push(n)
    })
    while (answered.length < 20) {
      waiting.shift()?.()
      await new Promise(setImmediate)
    }
    await Promise.all(all)
    expect(answered).toEqual(answered.map((_, n) => n))
    expect(most()).toBe(4)
  })

  it('leave others no place for so long only, and give it back whatever comes of them', async () => {
    vi.useFakeTimers()
    const { raw, waiting } = slow()
    const ports = { ...store.ports, raw, places: new Budget(1) }
    const gone = new AbortController()
    const first = verifyRawFile(ports, store.add(), gone.signal)
    const leaves = new AbortController()
    const second = verifyRawFile(ports, store.add(), leaves.signal)
    const refused = expect(verifyRawFile(ports, store.add())).rejects.toMatchObject({
      code: 'busy',
    })
    leaves.abort()
    await expect(second).rejects.toBe(leaves.signal.reason)
    await vi.advanceTimersByTimeAsync(30_000)
    await refused
    gone.abort()
    waiting.shift()?.()
    await expect(first).rejects.toBe(gone.signal.reason)
    const failing = store.add()
    store.faults.set(failing.rawFile.id, 'storage_unavailable')
    const fails = verifyRawFile(ports, failing)
    await vi.advanceTimersByTimeAsync(0)
    waiting.shift()?.()
    await expect(fails).rejects.toMatchObject({ code: 'storage_unavailable' })
    const last = verifyRawFile(ports, store.add())
    await vi.advanceTimersByTimeAsync(0)
    waiting.shift()?.()
    expect((await last).checks[0]?.passed).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('the verdict', () => {
  const yes = passed('a')
  const no = { ...yes, passed: false }
  const open = { ...yes, passed: null }
  it.each([
    [[yes], true, false, 'verified'],
    [[yes], false, false, 'unverifiable'],
    [[yes, open], true, false, 'unverifiable'],
    [[yes, open], false, true, 'pending'],
    [[open, no], false, true, 'failed'],
    [[yes, open, no], true, false, 'failed'],
  ])('%#', (checks, thirdParty, pending, verdict) => {
    expect(verdictOf(checks, { thirdParty, pending })).toBe(verdict)
  })
})

describe('the whole store', () => {
  it('is counted by verdict, and what is wrong is told', async () => {
    const ports = withVerifier(testVerifier([passed('link')]))
    const all = Array.from({ length: 250 }, () => store.link(store.add(), 'test:1'))
    const [damaged, missing, sealed, pending, gone, unread] = all
    if (!damaged || !missing || !sealed || !pending || !gone || !unread) throw new Error('too few')
    store.faults.set(damaged.rawFile.id, 'blob_damaged')
    store.faults.set(missing.rawFile.id, 'blob_missing')
    store.faults.set(sealed.rawFile.id, 'key_missing')
    store.faults.set(unread.rawFile.id, 'storage_unavailable')
    store.link(pending, null)
    store.pending.add(pending.rawFile.id)
    store.add()
    const told = new Map<string, string>()
    const progress: [number, number][] = []
    const counts = await verifyAll(
      {
        ...ports,
        meta: {
          ...ports.meta,
          findRawFile: async (id) =>
            id === gone.rawFile.id ? undefined : ports.meta.findRawFile(id),
        },
        raw: {
          get: async (blob) => {
            if (blob.address === gone.rawFile.id) throw new BytesError('blob_missing', 'gone')
            return ports.raw.get(blob)
          },
        },
      },
      {
        onProblem: ({ rawFileId, verdict }) => told.set(rawFileId, verdict),
        onProgress: (done, total) => progress.push([done, total]),
      },
    )
    expect(counts).toEqual({ verified: 244, pending: 1, unverifiable: 2, failed: 3 })
    expect(told).toEqual(
      new Map([
        [damaged.rawFile.id, 'failed'],
        [missing.rawFile.id, 'failed'],
        [sealed.rawFile.id, 'unverifiable'],
        [unread.rawFile.id, 'failed'],
      ]),
    )
    expect([progress[0], progress.at(-1), progress.length]).toEqual([[0, 251], [251, 251], 252])
  })

  it('takes a blob that was replaced meanwhile', async () => {
    const file = store.add()
    const healed = store.add({ content: store.contents.get(file.rawFile.id) ?? Buffer.of() })
    store.remove(healed)
    store.faults.set(file.rawFile.id, 'blob_damaged')
    const { meta } = store.ports
    const now = { ...file, blob: healed.blob }
    const ports = { ...store.ports, meta: { ...meta, findRawFile: async () => now } }
    expect(await verifyAll(ports)).toMatchObject({ failed: 0, unverifiable: 1 })
  })

  it('ends when the database is away, and when it is told to', async () => {
    for (let i = 0; i < 20; i += 1) store.add()
    const away = new BytesError('database_unavailable', 'away')
    let asked = 0
    const isPending = async (): Promise<boolean> => {
      asked += 1
      throw away
    }
    const ports = { ...store.ports, pending: { isPending } }
    await expect(verifyAll(ports)).rejects.toBe(away)
    // Only those that were begun before.
    expect(asked).toBeLessThanOrEqual(4)
    const stop = new AbortController()
    let told = 0
    const onProgress = (done: number): void => {
      told = done
      if (done === 7) stop.abort()
    }
    await expect(verifyAll(store.ports, { signal: stop.signal, onProgress })).rejects.toMatchObject(
      {
        name: 'AbortError',
      },
    )
    expect(told).toBeLessThan(20)
    expect(store.open()).toBe(0)
  })
})
