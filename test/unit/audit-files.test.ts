/** What an audit does on file systems that do not take everything. */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createAuditFiles } from '../../src/raw/audit-files.js'

const refused = vi.hoisted(() => ({ open: '', link: '' }))

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  const failed = (code: string, syscall: string) =>
    Promise.reject(Object.assign(new Error(code), { code, syscall }))
  return {
    ...real,
    open: (...args: Parameters<typeof real.open>) =>
      refused.open && args[1] === 'wx' ? failed(refused.open, 'open') : real.open(...args),
    link: (...args: Parameters<typeof real.link>) =>
      refused.link ? failed(refused.link, 'link') : real.link(...args),
  }
})

const address = createHash('sha512').update('x').digest('hex')
const folder = join('blobs', 'v1', 'org', address.slice(0, 2))
let dataDir: string

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'bytes-test-audit-files-'))
  await mkdir(join(dataDir, folder), { recursive: true })
  await mkdir(join(dataDir, 'tmp'))
})

afterEach(async () => {
  refused.open = ''
  refused.link = ''
  await rm(dataDir, { recursive: true, force: true })
})

it.each(['EROFS', 'EACCES', 'ENOSPC'])(
  'tells the time where a file cannot be made: %s',
  async (code) => {
    refused.open = code
    expect(await createAuditFiles(dataDir).clock()).toBeCloseTo(Date.now(), -5)
  },
)

it('does not guess the time when something else fails', async () => {
  refused.open = 'EIO'
  await expect(createAuditFiles(dataDir).clock()).rejects.toMatchObject({
    code: 'storage_unavailable',
  })
})

it.each([false, true])(
  'puts a file back without hard links; a new one there: %s',
  async (newer) => {
    const files = createAuditFiles(dataDir)
    await writeFile(join(dataDir, folder, address), 'x')
    const aside = (await files.setAside(join(folder, address))) ?? ''
    if (newer) await writeFile(join(dataDir, folder, address), 'new')
    refused.link = 'EPERM'
    await files.putBack(aside)
    expect(await readdir(join(dataDir, folder))).toEqual([address])
    expect(await readFile(join(dataDir, folder, address), 'utf8')).toBe(newer ? 'new' : 'x')
    await files.putBack(aside)
  },
)
