/** What a form may make the service keep: the rest is tried over HTTP. */
import { describe, expect, it } from 'vitest'
import { HttpProblem } from '../../src/api/problems.js'
import { multipartUpload } from '../../src/api/upload/multipart.js'
import type { ReceivedFile } from '../../src/flows/tagged.js'

const tagPart = (tag: string): string => `Content-Disposition: form-data; name="tag"\r\n\r\n${tag}`
const filePart = (type: string): string =>
  `Content-Disposition: form-data; name="f"; filename="f"\r\nContent-Type: ${type}\r\n\r\nx`

/** @returns what was made of it, and how many contents had been read by then */
async function read(parts: readonly string[], tags: readonly string[] = [], maxFiles = 10_000) {
  const body = `${parts.map((part) => `--b\r\n${part}\r\n`).join('')}--b--\r\n`
  async function* pieces(): AsyncGenerator<Buffer> {
    const bytes = Buffer.from(body)
    for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
  }
  let held = 0
  const upload = multipartUpload(pieces(), 'multipart/form-data; boundary=b', tags, maxFiles)
  const received = upload.receive(async (content) => {
    for await (const _ of content);
    held++
    return { hashes: { size: 1, contentDigest: 'sha512:00', secureHash: () => 'sha512:00' } }
  })
  const outcome: readonly ReceivedFile[] | HttpProblem = await received.catch((error: unknown) => {
    if (error instanceof HttpProblem) return error
    throw error
  })
  return { outcome, held }
}

const manyFiles = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => filePart(`a/${i}`))
const longTags = Array.from({ length: 999 }, (_, i) =>
  `${'😀'.repeat(61)}${1000 + i}`.slice(0, 125),
)

describe('tags of all files', () => {
  it.each([
    ['in the form', longTags.map(tagPart), []],
    ['in the query', [], longTags],
    ['that are empty', Array.from({ length: 999 }, () => tagPart('')), []],
  ])('count for each of them: %s', async (_, parts, tags) => {
    const { outcome, held } = await read([...parts, ...manyFiles(5000)], tags)
    expect(outcome).toMatchObject({
      status: 422,
      body: { value: expect.stringContaining('names and tags: send fewer files at once') },
    })
    expect(held).toBeLessThan(600)
  })

  it('and the type and tags of each make its MIME types', async () => {
    const parts = [tagPart('all'), filePart('a/0'), tagPart('first'), filePart('a/1')]
    const { outcome } = await read(parts, ['query'])
    expect(outcome).toMatchObject([
      { tags: ['query', 'all', 'a/0', 'first'] },
      { tags: ['query', 'all', 'a/1'] },
    ])
  })

  it('are at most 1000 with those of a file', async () => {
    const tags = Array.from({ length: 999 }, (_, i) => `${i}`)
    expect((await read([filePart('a/0')], tags)).outcome).toHaveLength(1)
    for (const parts of [
      [filePart('a/0'), tagPart('too many')],
      [tagPart('too many'), filePart('a/0')],
    ]) {
      expect((await read(parts, tags)).outcome).toMatchObject({
        status: 422,
        body: { value: expect.stringContaining('at most 1000 tags') },
      })
    }
  })
})

it('a type that is too long is refused before the content is read', async () => {
  const { outcome, held } = await read([filePart(`a/${'x'.repeat(63)}`)])
  expect([outcome, held]).toMatchObject([{ status: 422 }, 0])
})
