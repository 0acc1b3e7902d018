import { expect, it } from 'vitest'
import { BytesError, type ErrorCode } from '../../src/domain/errors.js'
import type { Blob } from '../../src/domain/models.js'
import type { BlobLocation } from '../../src/domain/ports.js'
import { openContent } from '../../src/flows/retrieve.js'

const blob: Blob = {
  organization: 'org',
  contentDigest: `sha512:${'0'.repeat(128)}`,
  size: 1,
  address: '0'.repeat(128),
  storedSize: 1,
  middleware: 'IDENTITY',
  sealedKey: null,
}

it.each<[ErrorCode, string[]]>([
  ['blob_missing', ['blob_missing']],
  ['blob_damaged', ['blob_damaged']],
  ['key_missing', []],
])('%s is told with the name of the blob, and counted as %j', async (code, expected) => {
  const counted: string[] = []
  const ports = {
    meta: { findBlob: async () => blob },
    raw: { get: () => Promise.reject(new BytesError(code, 'the reason')) },
    countBlobError: (each: string) => counted.push(each),
  }
  await expect(openContent(ports, blob)).rejects.toMatchObject({
    code,
    message: `Blob ${blob.contentDigest} cannot be read: the reason`,
  })
  expect(counted).toEqual(expected)
})

it.each<ErrorCode>(['blob_missing', 'blob_damaged', 'key_missing'])(
  'a blob with %s that has been replaced meanwhile is read where it is now',
  async (code) => {
    const counted: string[] = []
    const replaced: Blob = { ...blob, address: '1'.repeat(128) }
    async function* content(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('whole')
    }
    const ports = {
      meta: { findBlob: async () => replaced },
      raw: {
        get: async (wanted: BlobLocation) => {
          if (wanted.address !== replaced.address) throw new BytesError(code, 'the reason')
          return content()
        },
      },
      countBlobError: (each: string) => counted.push(each),
    }
    const pieces: Uint8Array[] = []
    for await (const piece of await openContent(ports, blob)) pieces.push(piece)
    expect([Buffer.concat(pieces).toString(), counted]).toEqual(['whole', []])
  },
)
