/** An upload or an end between any two steps of a sweep, or of an upload, loses no file that has a row. */
import { createHash, randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RawRepository } from '../../src/domain/ports.js'
import { sweepBlobFile } from '../../src/flows/sweep.js'
import { blobFolder } from '../../src/raw/blob-path.js'
import { reportTried } from '../support/fault-report.js'
import { ORGANIZATION, oldest, openSweptStore, type SweptStore } from '../support/swept-store.js'

let store: SweptStore

beforeAll(async () => {
  store = await openSweptStore()
})

afterAll(() => store?.close())

describe('a whole sweep', () => {
  it('between the publishing and the commit of an upload leaves its file', async () => {
    const content = `published ${randomUUID()}`
    const address = await store.leaveOrphan(content)
    let removed = true
    const raw: RawRepository = {
      ...store.plain,
      publish: async (organization, staged) => {
        const published = await store.plain.publish(organization, staged)
        removed = await store.sweepFile(address)
        return published
      },
    }
    const id = await store.upload(raw, await store.newJob(), content)
    expect(removed).toBe(false)
    expect(await store.read(id)).toBe(content)
  })

  it('after an upload has found an equal blob leaves its file', async () => {
    const content = `shared ${randomUUID()}`
    const blob = await store.leaveUnreferenced(await store.newJob(), content)
    let removed = true
    const raw: RawRepository = {
      ...store.sealed,
      intact: async (found) => {
        const whole = await store.sealed.intact(found)
        removed = await store.sweepBlob(found)
        return whole
      },
    }
    const id = await store.upload(raw, await store.newJob(), content)
    expect(removed).toBe(false)
    expect(await store.read(id)).toBe(content)
    expect((await store.meta.findRawFile(id))?.blob.address).toBe(blob.address)
  })
})

/** The steps of a sweep, at each of which something else may happen. */
const STEPS = ['setAside', 'changedAt', 'rowsAt', 'discard', 'putBack'] as const

describe('between two steps of a sweep', () => {
  type When = 'before' | 'after'
  const interruptions = { tried: 0, right: 0 }

  afterAll(() => {
    const { tried, right } = interruptions
    reportTried('sweep', 'upload or end between two steps', { tried, violations: tried - right })
  })

  const cases = STEPS.flatMap((step) => (['before', 'after'] as const).map((when) => [when, step]))

  /** The ports, with something that happens once, before or after a step. */
  function interrupted(step: string, when: When, event: () => Promise<void>) {
    let happened = false
    const wrap = <Port extends object>(port: Port): Port =>
      new Proxy(port, {
        get: (target, name, receiver) => {
          const method: unknown = Reflect.get(target, name, receiver)
          if (name !== step || typeof method !== 'function') return method
          return async (...args: unknown[]) => {
            const now = !happened
            happened = true
            if (now && when === 'before') await event()
            const result: unknown = await method.apply(target, args)
            if (now && when === 'after') await event()
            return result
          }
        },
      })
    return { ports: { files: wrap(store.files), rows: wrap(store.rows) }, happened: () => happened }
  }

  it.each(cases)('an upload %s %s keeps its file', async (when, step) => {
    interruptions.tried += 1
    const content = `${when} ${step} ${randomUUID()}`
    const address = await store.leaveOrphan(content)
    let id = ''
    const { ports, happened } = interrupted(step as string, when as When, async () => {
      id = await store.upload(store.plain, await store.newJob(), content)
      expect(await store.read(id)).toBe(content)
    })
    await store.sweepFile(address, ports)
    // What is not wanted is discarded, and not put back.
    if (step === 'putBack') expect(happened()).toBe(false)
    else expect(await store.read(id)).toBe(content)
    const left = await readdir(dirname(store.pathOf(address)))
    const here = left.filter((name) => name.startsWith(address))
    expect(here).toEqual(step === 'putBack' ? [] : [basename(store.pathOf(address))])
    interruptions.right += 1
  })

  it.each(cases)('a sweep that is ended %s %s loses nothing that has a row', async (when, step) => {
    interruptions.tried += 1
    const content = `${when} ${step} ${randomUUID()}`
    const id = await store.upload(store.plain, await store.newJob(), content)
    const address = createHash('sha512').update(content).digest('hex')
    await store.age(store.pathOf(address))
    let kill: (how: string) => void = () => undefined
    const killed = new Promise<string>((resolve) => {
      kill = resolve
    })
    const { ports, happened } = interrupted(step as string, when as When, () => {
      kill('killed')
      // Nothing of what follows happens.
      return new Promise(() => undefined)
    })
    const ended = Promise.race([store.sweepFile(address, ports), killed])
    expect(await ended).toBe(step === 'discard' ? false : 'killed')
    expect(happened()).toBe(step !== 'discard')
    expect(await store.read(id)).toBe(content)
    // The next one puts in order what is left.
    const folder = blobFolder(ORGANIZATION, address)
    for (const name of await readdir(join(store.dataDir, folder))) {
      if (!name.startsWith(`${address}.`)) continue
      const file = { path: join(folder, name), form: 'aside', address } as const
      const candidate = { ...store.candidateOf(address), file }
      await sweepBlobFile(store, candidate, oldest())
    }
    expect(await store.read(id)).toBe(content)
    const names = (await readdir(join(store.dataDir, folder))).filter((n) => n.startsWith(address))
    expect(names).toEqual([address])
    interruptions.right += 1
  })
})
