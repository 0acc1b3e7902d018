import { randomBytes } from 'node:crypto'
import { beforeEach, describe, expect, it } from 'vitest'
import type { EvidenceRecords } from '../../src/domain/evidence-records.js'
import { parseUuid } from '../../src/domain/uuid.js'

/** What all keepers of evidence records must do. `setup` gives one without any record. */
export function evidenceRecordsContract(
  name: string,
  setup: () => Promise<EvidenceRecords> | EvidenceRecords,
): void {
  describe(`${name}: contract of evidence records`, () => {
    let records: EvidenceRecords

    beforeEach(async () => {
      records = await setup()
    })

    const found = async (id: string | undefined): Promise<[Buffer, Buffer]> => {
      const record = await records.find(id ?? '')
      if (record === undefined) throw new Error(`no record ${id}`)
      return [Buffer.from(record.token), Buffer.from(record.reducedHashTree)]
    }

    it('finds each record with its tree and the token of all', async () => {
      const token = randomBytes(5000)
      const trees = Array.from({ length: 1000 }, (_, n) => Buffer.from(`tree ${n}`))
      const ids = await records.save(token, trees)
      expect(new Set(ids).size).toBe(trees.length)
      for (const id of ids) expect(parseUuid(id)).toBe(id)
      for (const n of [0, 1, 499, 999]) {
        expect(await found(ids[n])).toEqual([token, Buffer.from(`tree ${n}`)])
      }
    })

    it('keeps every byte', async () => {
      const bytes = Uint8Array.from({ length: 256 }, (_, n) => n)
      const [one, two] = await records.save(bytes, [bytes, new Uint8Array()])
      expect(await found(one)).toEqual([Buffer.from(bytes), Buffer.from(bytes)])
      expect(await found(two)).toEqual([Buffer.from(bytes), Buffer.alloc(0)])
    })

    it('keeps large ones', async () => {
      const [token, tree] = [randomBytes(1_000_000), randomBytes(1_000_000)]
      const [id] = await records.save(token, [tree])
      const [foundToken, foundTree] = await found(id)
      expect(foundToken.equals(token) && foundTree.equals(tree)).toBe(true)
    })

    it('keeps apart what was saved at the same time', async () => {
      const saved = await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          records.save(Buffer.of(n), [Buffer.of(n, 1), Buffer.of(n, 2)]),
        ),
      )
      expect(new Set(saved.flat()).size).toBe(40)
      for (const [n, ids] of saved.entries()) {
        expect(await found(ids[0])).toEqual([Buffer.of(n), Buffer.of(n, 1)])
        expect(await found(ids[1])).toEqual([Buffer.of(n), Buffer.of(n, 2)])
      }
    })

    it('gives the same record and token other ids when they are saved again', async () => {
      const save = () => records.save(Buffer.of(1), [Buffer.of(2)])
      const [first, second] = [await save(), await save()]
      expect(first).not.toEqual(second)
      expect(await found(first[0])).toEqual(await found(second[0]))
    })

    it('saves no record', async () => {
      expect(await records.save(Buffer.of(1), [])).toEqual([])
    })

    it('finds no record that was not saved', async () => {
      await records.save(Buffer.of(1), [Buffer.of(2)])
      expect(await records.find('00000000-0000-4000-8000-000000000000')).toBeUndefined()
    })
  })
}
