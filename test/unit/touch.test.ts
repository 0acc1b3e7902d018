import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { BlobLocation } from '../../src/domain/ports.js'
import { blobFolder } from '../../src/raw/blob-path.js'
import { createDiskReader } from '../../src/raw/disk-reader.js'

const after = vi.hoisted(() => ({ utimes: async (_path: string): Promise<void> => undefined }))

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  return {
    ...real,
    utimes: async (path: string, ...times: [Date, Date]) => {
      await real.utimes(path, ...times)
      await after.utimes(path)
    },
  }
})

let dataDir: string
let blob: BlobLocation

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-touch-'))
  const address = createHash('sha512').update('x').digest('hex')
  const kept = { organization: 'org', address, size: 1, storedSize: 1, sealedKey: null }
  blob = { ...kept, middleware: 'IDENTITY' }
  const path = join(dataDir, blobFolder('org', address), address)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, 'x')
})

afterEach(() => rm(dataDir, { recursive: true, force: true }))

it('a file that a sweep takes away while it gets its time is not relied on', async () => {
  const { touch } = createDiskReader(dataDir, [])
  after.utimes = async () => undefined
  expect(await touch(blob)).toBe(true)
  after.utimes = (path) => rename(path, `${path}.swept`)
  expect(await touch(blob)).toBe(false)
})
