import fc from 'fast-check'
import { expect, it } from 'vitest'
import { encodeBase64 } from '../../src/domain/base64-encoder.js'

async function* from(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces
}

async function collect(texts: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = []
  for await (const text of texts) all.push(text)
  return all
}

it('gives the base64 of all bytes, however they are cut into pieces', async () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 10 }), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(pieces, async (given) => {
      const texts = await collect(encodeBase64(from(given)))
      expect(texts.join('')).toBe(Buffer.concat(given).toString('base64'))
      expect(texts).not.toContain('')
    }),
  )
})

it('gives each piece before it asks for the next, and keeps nothing of the buffer', async () => {
  const shared = Buffer.alloc(4)
  async function* reused(): AsyncGenerator<Uint8Array> {
    for (const text of ['abcd', 'efgh', 'ijkl']) {
      shared.write(text)
      yield shared
    }
  }
  const texts = await collect(encodeBase64(reused()))
  expect(texts).toEqual(['YWJj', 'ZGVm', 'Z2hpamts'])
})

it('ends its source when it is ended', async () => {
  let ended = false
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.from('abc')
    } finally {
      ended = true
    }
  }
  for await (const text of encodeBase64(endless())) {
    expect(text).toBe('YWJj')
    break
  }
  expect(ended).toBe(true)
})
