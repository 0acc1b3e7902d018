/** Zip archives for tests, good and bad. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { ZipFile } from 'yazl'

export interface ZippedFile {
  readonly name: string
  readonly content: Uint8Array | string
}

/** Names may repeat. */
export async function zipOf(files: readonly ZippedFile[], compress = false): Promise<Buffer> {
  const zip = new ZipFile()
  const folders = new Set(files.flatMap(({ name }) => /^(.*)\//.exec(name)?.[1] ?? []))
  if (compress) for (const folder of folders) zip.addEmptyDirectory(folder)
  for (const { name, content } of files) zip.addBuffer(Buffer.from(content), name, { compress })
  zip.end()
  return buffer(zip.outputStream)
}

/** The files below a folder. */
export async function filesIn(folder: string): Promise<ZippedFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
  return Promise.all(
    paths.map(async (path) => ({
      name: path.slice(folder.length + 1),
      content: await readFile(path),
    })),
  )
}

const CENTRAL = Buffer.from('PK\x01\x02', 'latin1')
const LOCAL = Buffer.from('PK\x03\x04', 'latin1')

/** Where the fields of a central directory record are. */
export const FIELD = { flags: 8, method: 10, crc32: 16, compressed: 20, size: 24 } as const

/** Changes a field of an entry in the central directory, and in its own header where it is there too. */
export function patched(
  archive: Uint8Array,
  name: string,
  field: keyof typeof FIELD,
  value: number,
): Buffer {
  const bytes = Buffer.from(archive)
  for (const [signature, nameAt, shift] of [
    [CENTRAL, 46, 0],
    [LOCAL, 30, -2],
  ] as const) {
    const at = bytes.indexOf(Buffer.from(name)) < 0 ? -1 : headerOf(bytes, signature, nameAt, name)
    if (at < 0) throw new Error(`there is no ${name}`)
    const place = at + FIELD[field] + shift
    if (field === 'flags' || field === 'method') bytes.writeUInt16LE(value, place)
    else bytes.writeUInt32LE(value, place)
  }
  return bytes
}

function headerOf(bytes: Buffer, signature: Buffer, nameAt: number, name: string): number {
  for (let at = bytes.indexOf(signature); at >= 0; at = bytes.indexOf(signature, at + 1)) {
    const length = bytes.readUInt16LE(at + nameAt - (nameAt === 46 ? 18 : 4))
    if (bytes.subarray(at + nameAt, at + nameAt + length).toString() === name) return at
  }
  return -1
}
