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

/** Where the fields of a central directory record are. */
export const FIELD = { flags: 8, method: 10, crc32: 16, compressed: 20, size: 24 } as const
type Field = keyof typeof FIELD

/** One entry of an archive as it is written, in the directory and before its bytes. */
export interface RawEntry extends ZippedFile {
  /** Extra fields of the directory, and of the entry's own header. */
  readonly central?: Buffer
  readonly local?: Buffer
  /** What the directory, and the entry's own header, say in place of the truth. */
  readonly told?: Partial<Record<Field, number>>
  readonly own?: Partial<Record<Field, number>>
  /** Follows its bytes: a data descriptor, or what the directory does not know. */
  readonly after?: Uint8Array
  /** Where its header is already: nothing is written but a record in the directory. */
  readonly at?: number
}

/** What the end of an archive says in place of the truth. */
interface RawEnd {
  readonly count?: number
  readonly countHere?: number
  readonly size?: number
  readonly offset?: number
}

export interface RawLayout {
  /** Before the first entry; offsets count it. */
  readonly front?: Uint8Array
  /** Between the directory and its end. */
  readonly gap?: Uint8Array
  readonly end?: RawEnd & { readonly disk?: number }
  readonly comment?: Uint8Array
  /** The end is in the form of zip64, too. */
  readonly zip64?: RawEnd & {
    /** Between its record and its locator. */
    readonly gap?: Uint8Array
    readonly length?: number
    /** Where the locator says that the record is. */
    readonly at?: number
  }
}

/** Zip64 extended information. */
export function zip64Extra(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 + 8 * values.length)
  bytes.writeUInt16LE(1, 0)
  bytes.writeUInt16LE(8 * values.length, 2)
  for (const [i, value] of values.entries()) bytes.writeBigUInt64LE(BigInt(value), 4 + 8 * i)
  return bytes
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

/** An archive of stored entries with names in UTF-8, and whatever else is said of them. */
export function rawZip(entries: readonly RawEntry[], layout: RawLayout = {}): Buffer {
  const { front = Buffer.of(), gap = Buffer.of() } = layout
  const parts: Uint8Array[] = [front]
  const directory: Buffer[] = []
  let written = front.length
  for (const entry of entries) {
    const { central = Buffer.of(), local = Buffer.of(), after = Buffer.of(), at } = entry
    const bytes = Buffer.from(entry.content)
    const text = Buffer.from(entry.name)
    const rest = Buffer.alloc(14)
    rest.writeUInt32LE(at ?? written, 10)
    const common = headerOf(bytes, text, central, entry.told)
    directory.push(CENTRAL, Buffer.of(20, 0), common, rest, text, central)
    if (at !== undefined) continue
    const own = headerOf(bytes, text, local, entry.own)
    const whole = Buffer.concat([LOCAL, own, text, local, bytes, after])
    parts.push(whole)
    written += whole.length
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0)
  const start = written + size + gap.length
  const truth = { count: entries.length, countHere: entries.length, size, offset: written }
  return Buffer.concat([...parts, ...directory, gap, endOf(truth, start, layout)])
}

/** What both headers of an entry have in common, from the version on. */
function headerOf(
  content: Buffer,
  name: Buffer,
  extra: Buffer,
  told: Partial<Record<Field, number>> = {},
): Buffer {
  const header = Buffer.alloc(26)
  header.writeUInt16LE(20, 0)
  header.writeUInt16LE(told.flags ?? 0x800, 2)
  header.writeUInt16LE(told.method ?? 0, 4)
  header.writeUInt32LE(told.crc32 ?? crc32(content), 10)
  header.writeUInt32LE(told.compressed ?? content.length, 14)
  header.writeUInt32LE(told.size ?? content.length, 18)
  header.writeUInt16LE(name.length, 22)
  header.writeUInt16LE(extra.length, 24)
  return header
}

/** @param start where it begins */
function endOf(truth: Required<RawEnd>, start: number, layout: RawLayout): Buffer {
  const { zip64, comment = Buffer.of() } = layout
  const { count, countHere, size, offset, disk = 0 } = { ...truth, ...layout.end }
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(disk, 6)
  end.writeUInt16LE(countHere, 8)
  end.writeUInt16LE(count, 10)
  end.writeUInt32LE(size, 12)
  end.writeUInt32LE(offset, 16)
  end.writeUInt16LE(comment.length, 20)
  if (zip64 === undefined) return Buffer.concat([end, comment])
  const said = { ...truth, ...zip64 }
  const record = Buffer.alloc(56)
  record.write('PK\x06\x06', 'latin1')
  for (const [at, value] of [
    [4, zip64.length ?? 44],
    [24, said.countHere],
    [32, said.count],
    [40, said.size],
    [48, said.offset],
  ] as const) {
    record.writeBigUInt64LE(BigInt(value), at)
  }
  const locator = Buffer.alloc(20)
  locator.write('PK\x06\x07', 'latin1')
  locator.writeBigUInt64LE(BigInt(zip64.at ?? start), 8)
  locator.writeUInt32LE(1, 16)
  return Buffer.concat([record, zip64.gap ?? Buffer.of(), locator, end, comment])
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

/** Changes a field of an entry in the central directory, and in its own header where it is there too. */
export function patched(archive: Uint8Array, name: string, field: Field, value: number): Buffer {
  const bytes = Buffer.from(archive)
  for (const [signature, nameAt, shift] of [
    [CENTRAL, 46, 0],
    [LOCAL, 30, -2],
  ] as const) {
    const at = bytes.indexOf(Buffer.from(name)) < 0 ? -1 : placeOf(bytes, signature, nameAt, name)
    if (at < 0) throw new Error(`there is no ${name}`)
    const place = at + FIELD[field] + shift
    if (field === 'flags' || field === 'method') bytes.writeUInt16LE(value, place)
    else bytes.writeUInt32LE(value, place)
  }
  return bytes
}

function placeOf(bytes: Buffer, signature: Buffer, nameAt: number, name: string): number {
  for (let at = bytes.indexOf(signature); at >= 0; at = bytes.indexOf(signature, at + 1)) {
    const length = bytes.readUInt16LE(at + nameAt - (nameAt === 46 ? 18 : 4))
    if (bytes.subarray(at + nameAt, at + nameAt + length).toString() === name) return at
  }
  return -1
}
