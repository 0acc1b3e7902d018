import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { CHUNK_SIZE, decrypt, payloadSize } from '../../src/raw/middleware/sealed-box/payload.js'
import { storedBytes } from '../contracts/file-middleware.contract.js'
import { decrypted, flipped, patternOf, payloadOf } from '../support/sealed-content.js'

const STORED_CHUNK = CHUNK_SIZE + 16
const fileKey = randomBytes(16)

/** The nonce, and the stored chunks of a payload. */
function partsOf(payload: Buffer): [Buffer, ...Buffer[]] {
  const parts: [Buffer, ...Buffer[]] = [payload.subarray(0, 16)]
  for (let at = 16; at < payload.length; at += STORED_CHUNK) {
    parts.push(payload.subarray(at, at + STORED_CHUNK))
  }
  return parts
}

describe('a payload that was tampered with', () => {
  /** Fails as damaged, and gives nothing before but the beginning of the content. */
  async function expectDamaged(
    payload: Buffer,
    size: number,
    content: Buffer,
    key: Uint8Array = fileKey,
  ): Promise<void> {
    const { plain, error } = await decrypted(payload, size, key)
    expect(error).toMatchObject({ name: 'BytesError', code: 'blob_damaged' })
    expect(plain.length).toBeLessThan(Math.max(size, 1))
    expect(plain.equals(content.subarray(0, plain.length))).toBe(true)
  }

  /** The content sizes that a payload of this length can be said to have. */
  const sizesFor = (length: number, size: number): number[] =>
    [size, length - 32, length - 48, length - 64, length - 80].filter(
      (each, i) => i === 0 || (each >= 0 && payloadSize(each) === length),
    )

  it.each([0, 1, 5])('in any bit: %i bytes', async (size) => {
    const content = patternOf(size)
    const payload = await payloadOf(content, fileKey)
    for (let bit = 0; bit < payload.length * 8; bit++) {
      await expectDamaged(flipped(payload, bit >> 3, bit & 7), size, content)
    }
  })

  it.each([2 * CHUNK_SIZE + 100, 3 * CHUNK_SIZE])(
    'in a bit of each part: %i bytes',
    async (size) => {
      const content = patternOf(size)
      const payload = await payloadOf(content, fileKey)
      const places = [0, 15, payload.length - 1]
      for (let at = 16; at < payload.length; at += STORED_CHUNK) {
        const end = Math.min(at + STORED_CHUNK, payload.length)
        places.push(at, (at + end) >> 1, end - 17, end - 16, end - 1)
      }
      for (const at of places) {
        for (const bit of [0, 7]) await expectDamaged(flipped(payload, at, bit), size, content)
      }
    },
  )

  it('by a cut anywhere, also when the size was changed with it', async () => {
    const content = patternOf(40)
    const payload = await payloadOf(content, fileKey)
    for (let length = 0; length < payload.length; length++) {
      for (const size of sizesFor(length, content.length)) {
        await expectDamaged(payload.subarray(0, length), size, content)
      }
    }
  })

  it('by a cut at and off the border of a chunk', async () => {
    const content = patternOf(3 * CHUNK_SIZE)
    const payload = await payloadOf(content, fileKey)
    for (const chunks of [0, 1, 2, 3]) {
      for (const off of [-17, -16, -1, 0, 1, 16, 17]) {
        const length = 16 + chunks * STORED_CHUNK + off
        if (length < 0 || length >= payload.length) continue
        const sizes = sizesFor(length, content.length)
        if (chunks > 0 && off === 0) expect(sizes).toContain(chunks * CHUNK_SIZE)
        for (const size of sizes) await expectDamaged(payload.subarray(0, length), size, content)
      }
    }
  })

  it('by a cut that shows only while it is read', async () => {
    const content = patternOf(2 * CHUNK_SIZE)
    const payload = await payloadOf(content, fileKey)
    for (const length of [0, 3, 16, 20, 16 + STORED_CHUNK, payload.length - 1]) {
      const { read } = storedBytes(payload, 50_000)
      const stored = {
        size: payload.length,
        read: (start: number, end: number) => read(start, Math.min(end, length)),
      }
      const { plain, error } = await decrypted(stored, content.length, fileKey)
      expect(error).toMatchObject({ code: 'blob_damaged' })
      expect(plain.length).toBe(length < 16 + STORED_CHUNK ? 0 : CHUNK_SIZE)
    }
  })

  it.each([2 * CHUNK_SIZE + 100, 3 * CHUNK_SIZE])(
    'by chunks that were dropped, doubled, swapped or added: %i bytes',
    async (size) => {
      const content = patternOf(size)
      const payload = await payloadOf(content, fileKey)
      const foreign = await payloadOf(patternOf(size).reverse(), fileKey)
      const [nonce, a, b, c] = partsOf(payload)
      const [, x, y, z] = partsOf(foreign)
      if (!a || !b || !c || !x || !y || !z) throw new Error('there are three chunks each')
      const changes = [
        [b, c],
        [a, c],
        [a, b],
        [a],
        [c],
        [],
        [a, a, b, c],
        [a, b, b, c],
        [a, b, c, c],
        [b, a, c],
        [a, c, b],
        [c, b, a],
        [a, a, c],
        [a, b, a],
        [a, b, c, Buffer.alloc(1)],
        [a, b, c, Buffer.alloc(16)],
        [a, b, c, Buffer.alloc(STORED_CHUNK)],
        [a, b, c, x],
        [x, b, c],
        [a, y, c],
        [a, b, z],
        [x, y, z],
      ]
      for (const chunks of changes) {
        const changed = Buffer.concat([nonce, ...chunks])
        for (const each of sizesFor(changed.length, size)) {
          await expectDamaged(changed, each, content)
        }
      }
    },
  )

  it('by the key or the file of another blob, or another size', async () => {
    const content = patternOf(100_000)
    const payload = await payloadOf(content, fileKey)
    const otherKey = randomBytes(16)
    await expectDamaged(payload, content.length, content, otherKey)
    await expectDamaged(await payloadOf(content, otherKey), content.length, content)
    for (const size of [0, 99_999, 100_001, 1_000_000, Number.MAX_SAFE_INTEGER]) {
      await expectDamaged(payload, size, content)
    }
  })

  it('is told at once when its length is wrong', () => {
    const stored = storedBytes(Buffer.alloc(33), 100)
    const reading = () => decrypt(stored, { start: 0, end: 5 }, 5, Buffer.from(fileKey))
    expect(reading).toThrow('its encrypted content is 33 bytes long instead of 37')
  })
})
