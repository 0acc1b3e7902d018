/** Zip archives for tests, good and bad. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { crc32 } from 'node:zlib'
import { ZipFile } from 'yazl'

const CENTRAL = Buffer.from('PK\x01\x02', 'latin1')
const LOCAL = Buffer.from('PK\x03\x04', 'latin1')

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

/** One entry of an archive as it is written, in the directory and before its bytes. */
export interface RawEntry extends ZippedFile {
  /** Extra fields of the directory, and of the entry's own header. */
  readonly central?: Buffer
  readonly local?: Buffer
}

/** Info-ZIP Unicode Path: says that `raw` is really named `name`. */
export function unicodePath(raw: string, name: string): Buffer {
  const head = Buffer.alloc(9)
  const text = Buffer.from(name)
  head.writeUInt16LE(0x7075, 0)
  head.writeUInt16LE(5 + text.length, 2)
  head.writeUInt8(1, 4)
  head.writeUInt32LE(crc32(raw), 5)
  return Buffer.concat([head, text])
}

/** An archive of stored entries with names in UTF-8, and whatever extra fields. */
export function rawZip(entries: readonly RawEntry[]): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  for (const { name, content, central = Buffer.of(), local = Buffer.of() } of entries) {
    const bytes = Buffer.from(content)
    const text = Buffer.from(name)
    const common = Buffer.alloc(26)
    common.writeUInt16LE(20, 0)
    common.writeUInt16LE(0x800, 2)
    common.writeUInt32LE(crc32(bytes), 10)
    common.writeUInt32LE(bytes.length, 14)
    common.writeUInt32LE(bytes.length, 18)
    common.writeUInt16LE(text.length, 22)
    const own = Buffer.from(common)
    own.writeUInt16LE(local.length, 24)
    common.writeUInt16LE(central.length, 24)
    const rest = Buffer.alloc(14)
    rest.writeUInt32LE(at, 10)
    directory.push(CENTRAL, Buffer.of(20, 0), common, rest, text, central)
    parts.push(LOCAL, own, text, local, bytes)
    at += 4 + own.length + text.length + local.length + bytes.length
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(entries.length, 8)
  end.writeUInt16LE(entries.length, 10)
  end.writeUInt32LE(size, 12)
  end.writeUInt32LE(at, 16)
  return Buffer.concat([...parts, ...directory, end])
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
