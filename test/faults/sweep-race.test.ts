/** An upload never loses its file to a sweep that finds an equal one without a row at that moment. */
import { randomInt } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isFull, reportTried } from '../support/fault-report.js'
import { ORGANIZATION, openSweptStore, type SweptStore } from '../support/swept-store.js'

const ROUNDS = isFull ? 10_000 : 200
const AT_ONCE = 16

let store: SweptStore

beforeAll(async () => {
  store = await openSweptStore()
})

afterAll(() => store?.close())

/** What the last uploads took, in milliseconds; more or less, as the machine is busy or not. */
let uploadMs = 8

/** At any moment of an upload that begins now, or soon before or after it. */
const aMoment = (): Promise<void> => sleep(randomInt(1 + Math.ceil(uploadMs * 1.5)))

async function rounds(count: number, round: (number: number) => Promise<void>): Promise<string[]> {
  const violations: string[] = []
  let begun = 0
  const work = async (): Promise<void> => {
    while (begun < count) {
      const number = ++begun
      await round(number).catch((error: unknown) => violations.push(`round ${number}: ${error}`))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return violations
}

describe('a sweep and an upload of the same content', () => {
  it('at any moments leave what was acknowledged, readable all the time', async () => {
    let removed = 0
    const violations = await rounds(ROUNDS, async (number) => {
      const content = `content ${number}`
      const address = await store.leaveOrphan(content)
      const uploading = (async () => {
        const job = await store.newJob()
        await sleep(randomInt(1 + Math.ceil(uploadMs / 2)))
        const begun = performance.now()
        const id = await store.upload(store.plain, job, content)
        uploadMs = 0.9 * uploadMs + 0.1 * (performance.now() - begun)
        for (let i = 0; i < 3; i++) expect(await store.read(id)).toBe(content)
        return id
      })()
      const sweeping = [1, 2].map(async () => {
        await aMoment()
        if (await store.sweepFile(address)) removed += 1
      })
      const [id] = await Promise.all([uploading, ...sweeping])
      expect(await store.read(id)).toBe(content)
      expect(await store.files.sizeOf({ organization: ORGANIZATION, address, storedSize: 0 })).toBe(
        content.length,
      )
    })
    reportTried('sweep', 'upload over a file without a row', {
      tried: ROUNDS,
      violations: violations.length,
    })
    expect(violations).toEqual([])
    expect(removed).toBeGreaterThan(0)
  }, 1_200_000)

  it('keep a blob that the upload shares, and whose row is swept', async () => {
    const count = Math.ceil(ROUNDS / 3)
    let removed = 0
    const violations = await rounds(count, async (number) => {
      const content = `sealed content ${number}`
      const blob = await store.leaveUnreferenced(await store.newJob(), content)
      const job = await store.newJob()
      const sweeping = aMoment().then(() => store.sweepBlob(blob))
      const id = await aMoment().then(() => store.upload(store.sealed, job, content))
      if (await sweeping) removed += 1
      expect(await store.read(id)).toBe(content)
    })
    reportTried('sweep', 'upload that shares a blob whose row is swept', {
      tried: count,
      violations: violations.length,
    })
    expect(violations).toEqual([])
    expect(removed).toBeGreaterThan(0)
  }, 1_200_000)

  it('leave no file behind that was set aside', async () => {
    const names = await readdir(join(store.dataDir, 'blobs'), { recursive: true })
    expect(names.filter((name) => name.endsWith('.swept'))).toEqual([])
    expect(names.length).toBeGreaterThan(ROUNDS)
  })
})
