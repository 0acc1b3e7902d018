/** The `age` program reads what we store, and we read what it stores. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openFileKey } from '../../src/raw/middleware/sealed-box/file-key.js'
import { createKeyRing, generateKeyPair } from '../../src/raw/middleware/sealed-box/keys.js'
import { createSealedBox } from '../../src/raw/middleware/sealed-box/sealed-box.js'
import { encoded } from '../contracts/file-middleware.contract.js'
import { type AgeKeys, ageKeys, hasAge } from '../support/age.js'
import { decrypted, patternOf, payloadOf } from '../support/sealed-content.js'

if (!hasAge) console.warn('age is not installed: encrypted content was not checked with it')

it.runIf(process.env.CI)('age is there where it counts', () => {
  expect(hasAge).toBe(true)
})

const SIZES = [0, 1, 65_535, 65_536, 65_537, 131_072, 250_000]

describe.runIf(hasAge)('age', () => {
  let keys: AgeKeys

  beforeAll(async () => {
    keys = await ageKeys()
  })

  afterAll(() => keys.dispose())

  it.each(SIZES)('decrypts our stored content of %i bytes', async (size) => {
    const ring = createKeyRing(generateKeyPair())
    const content = patternOf(size)
    const { stored, sealedKey } = await encoded(createSealedBox(ring), [content])
    const header = await keys.header(openFileKey(sealedKey, ring))
    const file = Buffer.concat([header, stored])
    expect(keys.decrypt(file).equals(content)).toBe(true)
  })

  it.each(SIZES)('encrypts content of %i bytes that we decrypt', async (size) => {
    const content = patternOf(size)
    const { fileKey, payload } = await keys.takeApart(keys.encrypt(content))
    const { plain, error } = await decrypted(payload, size, fileKey)
    expect(error).toBeUndefined()
    expect(plain.equals(content)).toBe(true)
  })

  it('refuses what we refuse', async () => {
    const fileKey = randomBytes(16)
    const header = await keys.header(fileKey)
    const payload = await payloadOf(patternOf(131_072), fileKey)
    expect(keys.decrypt(Buffer.concat([header, payload]))).toHaveLength(131_072)
    const cut = payload.subarray(0, 16 + 65_552)
    expect(() => keys.decrypt(Buffer.concat([header, cut]))).toThrow(/age/)
    expect((await decrypted(cut, 65_536, fileKey)).error).toMatchObject({ code: 'blob_damaged' })
  })
})
