/**
 * Where the parts of a zip archive stand, and what they say of each other. Some programs go by the
 * directory of an archive, others by the header before the bytes of each file, by where the directory
 * ends, or by its size. All of them unpack the same where all of that says the same.
 *
 * Sections are those of APPNOTE.TXT, version 6.3.10, of PKWARE.
 */
import { buffer } from 'node:stream/consumers'
import { type Entry, type LocalFileHeader, parseExtraFields, type ZipFile } from 'yauzl'

/** Bit 3: checksum and sizes follow the bytes, and may be 0 in the header (4.4.4). */
const HAS_DESCRIPTOR = 8
/** Longest data descriptor: a signature, a checksum, and two sizes of eight bytes (4.3.9). */
const DESCRIPTOR_LENGTH = 24
/** Zip64 extended information (4.5.3). */
const ZIP64_EXTRA = 0x0001
/** In a field that is too small: the value is in the zip64 form (4.4.1.4). */
const ELSEWHERE = 0xffffffff
const ELSEWHERE_16 = 0xffff

const END = Buffer.from('PK\x05\x06', 'latin1')
const END_LENGTH = 22
const ZIP64_END = 0x06064b50
const ZIP64_END_LENGTH = 56
const ZIP64_LOCATOR = 0x07064b50
const ZIP64_LOCATOR_LENGTH = 20

/** What one file takes of an archive. */
export interface Place {
  /** Where its header begins. */
  readonly start: number
  /** Where its bytes end; a data descriptor may follow. */
  readonly end: number
  /** Bytes of its record in the directory. */
  readonly recordLength: number
}

/** @param local the header before the bytes of `entry` */
export function placeOf(entry: Entry, local: LocalFileHeader): Place {
  const { fileNameLength, extraFieldLength, fileCommentLength } = entry
  return {
    start: entry.relativeOffsetOfLocalHeader,
    end: local.fileDataStart + entry.compressedSize,
    recordLength: 46 + fileNameLength + extraFieldLength + fileCommentLength,
  }
}

const zip64Of = (extraFields: Buffer): Buffer[] =>
  parseExtraFields(extraFields).flatMap(({ id, data }) => (id === ZIP64_EXTRA ? [data] : []))

/** The sizes of a header: what does not fit into it is in the extra field, in this order (4.5.3). */
function sizesIn({ uncompressedSize, compressedSize }: LocalFileHeader, extra: Buffer): number[] {
  let at = 0
  return [uncompressedSize, compressedSize].map((size) => {
    if (size !== ELSEWHERE) return size
    at += 8
    return at > extra.length ? Number.NaN : Number(extra.readBigUInt64LE(at - 8))
  })
}

/**
 * Whether the header before a file's bytes (4.3.7) says what the directory says of it (4.3.12): how
 * it is packed, its checksum and its sizes.
 * @throws Error for extra fields that cannot be read
 */
export function headerFits(entry: Entry, local: LocalFileHeader): boolean {
  const zip64 = zip64Of(local.extraField)
  // Of two, each program would take another one.
  if (zip64.length > 1 || zip64Of(entry.extraFieldRaw).length > 1) return false
  const flags = entry.generalPurposeBitFlag
  if (local.generalPurposeBitFlag !== flags) return false
  if (local.compressionMethod !== entry.compressionMethod) return false
  const fits = (told: number | undefined, known: number): boolean =>
    told === known || (told === 0 && (flags & HAS_DESCRIPTOR) !== 0)
  const [size, compressedSize] = sizesIn(local, zip64[0] ?? Buffer.of())
  return (
    fits(local.crc32, entry.crc32) &&
    fits(size, entry.uncompressedSize) &&
    fits(compressedSize, entry.compressedSize)
  )
}

/**
 * Why an archive of these files may be unpacked otherwise than by its directory; undefined when it
 * has no more than the files, in whatever order, then the directory and its end.
 * @param places of all files in the directory
 * @throws Error for an archive that cannot be read
 */
export async function faultOfLayout(
  zip: ZipFile,
  places: readonly Place[],
): Promise<string | undefined> {
  const end = await readEnd(zip)
  if (end === undefined) return 'the records at its end contradict each other'
  const { counts, size, offset } = end
  const length = places.reduce((sum, { recordLength }) => sum + recordLength, 0)
  if (
    counts.some((count) => count !== places.length) ||
    size !== length ||
    offset + length !== end.start
  ) {
    return 'its directory is not where its end says, or not as long'
  }
  let last = 0
  let gap = 0
  for (const { start, end } of [...places].sort((a, b) => a.start - b.start)) {
    if (start < last) return 'two files in it overlap'
    if (start - last > gap) return 'it has bytes that belong to no file'
    last = end
    gap = DESCRIPTOR_LENGTH
  }
  if (offset < last) return 'a file in it overlaps its directory'
  return offset - last > gap ? 'it has bytes that belong to no file' : undefined
}

/** What is said of the directory behind it. */
interface DirectoryEnd {
  /** How many records it has, on this disk and in all. */
  readonly counts: readonly number[]
  readonly size: number
  readonly offset: number
  /** Where the first record behind the directory begins. */
  readonly start: number
}

/** Reads the end record, and those of zip64 before it. @returns undefined when they do not fit */
async function readEnd(zip: ZipFile): Promise<DirectoryEnd | undefined> {
  // The comment is of CP437, a character for each byte.
  const endAt = zip.fileSize - zip.comment.length - END_LENGTH
  const from = Math.max(0, endAt - ZIP64_LOCATOR_LENGTH - ZIP64_END_LENGTH)
  const tail = await bytesOf(zip, from, zip.fileSize)
  const at = endAt - from
  // Whoever looks for the end from another side must not find one in the comment.
  if (tail.lastIndexOf(END) !== at) return undefined
  const end = tail.subarray(at)
  const disks = [end.readUInt16LE(4), end.readUInt16LE(6)]
  const counts = [end.readUInt16LE(8), end.readUInt16LE(10)]
  const sizes = [end.readUInt32LE(12), end.readUInt32LE(16)]
  const locatorAt = at - ZIP64_LOCATOR_LENGTH
  if (locatorAt < 0 || tail.readUInt32LE(locatorAt) !== ZIP64_LOCATOR) {
    const [size = 0, offset = 0] = sizes
    return disks.some((disk) => disk !== 0) ? undefined : { counts, size, offset, start: endAt }
  }
  const zip64 = readZip64End(tail.subarray(0, at), from)
  if (zip64 === undefined) return undefined
  const { size, offset } = zip64
  // Programs differ in whether they take the one or the other.
  const fits =
    disks.every((disk) => disk === 0 || disk === ELSEWHERE_16) &&
    counts.every((count, i) => count === zip64.counts[i] || count === ELSEWHERE_16) &&
    sizes.every((value, i) => value === [size, offset][i] || value === ELSEWHERE)
  return fits ? zip64 : undefined
}

/**
 * Reads the zip64 end record and its locator (4.3.14, 4.3.15), right behind each other. A record with
 * more data is not taken: there are programs that look for it at its usual length before the locator.
 * @param bytes up to the end record
 * @param from where they are in the archive
 */
function readZip64End(bytes: Buffer, from: number): DirectoryEnd | undefined {
  const locatorAt = bytes.length - ZIP64_LOCATOR_LENGTH
  const recordAt = locatorAt - ZIP64_END_LENGTH
  if (recordAt < 0 || bytes.readUInt32LE(recordAt) !== ZIP64_END) return undefined
  const uint64 = (at: number): number => Number(bytes.readBigUInt64LE(at))
  const start = from + recordAt
  const disks = [locatorAt + 4, recordAt + 16, recordAt + 20].map((i) => bytes.readUInt32LE(i))
  // The first 12 bytes of the record do not count.
  const isWhole = uint64(recordAt + 4) === ZIP64_END_LENGTH - 12
  if (!isWhole || uint64(locatorAt + 8) !== start || disks.some((disk) => disk !== 0)) {
    return undefined
  }
  const [here = 0, all = 0, size = 0, offset = 0] = [24, 32, 40, 48].map((i) =>
    uint64(recordAt + i),
  )
  return { counts: [here, all], size, offset, start }
}

async function bytesOf(zip: ZipFile, from: number, to: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    zip.openReadStreamLowLevel(from, to - from, 0, to - from, false, null, (error, stream) => {
      if (error) reject(error)
      else buffer(stream).then(resolve, reject)
    })
  })
}
