/** Reads evidence bundles. They come from anybody: nothing of them is believed, or written to disk. */
import { stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { type Entry, type LocalFileHeader, parseExtraFields, type ZipFile } from 'yauzl'
import { reasonOf } from '../client/errors.js'
import { BUNDLE } from '../domain/evidence-bundle.js'
import { type ContentHashes, type HashingAlgorithm, startHash } from '../hashing/hasher.js'
import { faultOfLayout, headerFits, type Place, placeOf } from './bundle-layout.js'
import { bundleNameOf } from './bundle-names.js'
import { openArchive } from './bundle-reader.js'

/** Most entries: a hash tree of all hashes that there can be has not so many. */
const MAX_ENTRIES = 1000
const KIBIBYTE = 1024
/** Most bytes of each file that is read whole. */
const LIMITS: Readonly<Record<string, number>> = {
  [BUNDLE.contentDigest]: KIBIBYTE,
  [BUNDLE.meta]: 16 * KIBIBYTE * KIBIBYTE,
  [BUNDLE.secureHash]: KIBIBYTE,
  [BUNDLE.endedAt]: KIBIBYTE,
  [BUNDLE.token]: KIBIBYTE * KIBIBYTE,
  [BUNDLE.record]: 2 * KIBIBYTE * KIBIBYTE,
  [BUNDLE.anchors]: KIBIBYTE * KIBIBYTE,
}
const HASH_LIMIT = 64

/** A bundle that cannot be read as one. */
export class BundleError extends Error {
  override readonly name = 'BundleError'
}

export interface Bundle {
  /** Files by name, without the content. Those that are not known are left out. */
  readonly files: ReadonlyMap<string, Buffer>
  /** Bytes of the content, as the bundle says. */
  readonly contentSize: number
  /**
   * Reads the content once.
   * @throws BundleError; the reason of `signal`
   */
  hashContent(
    algorithm: HashingAlgorithm,
    onProgress: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<ContentHashes>
  close(): void
}

/**
 * Opens a bundle and reads its small files.
 * @throws BundleError for a file that cannot be read, or is no bundle
 */
export async function openBundle(path: string): Promise<Bundle> {
  const zip = await openZip(path)
  try {
    const entries = await knownEntries(zip)
    const content = entries.get(BUNDLE.content)
    if (content === undefined) throw missing(BUNDLE.content)
    const files = new Map<string, Buffer>()
    for (const [name, entry] of entries) {
      if (entry !== content) files.set(name, await readSmall(zip, entry))
    }
    return {
      files,
      contentSize: content.uncompressedSize,
      hashContent: async (algorithm, onProgress, signal) => {
        const hasher = startHash(algorithm)
        let size = 0
        for await (const piece of piecesOf(zip, content)) {
          signal.throwIfAborted()
          hasher.update(piece)
          size += piece.length
          onProgress(size)
        }
        return hasher.finish()
      },
      close: () => zip.close(),
    }
  } catch (error) {
    zip.close()
    throw error
  }
}

/** A file that every bundle has. @throws BundleError */
export function fileOf({ files }: Bundle, name: string): Buffer {
  const found = files.get(name)
  if (found === undefined) throw missing(name)
  return found
}

const missing = (name: string): BundleError =>
  new BundleError(`it is no evidence bundle: there is no ${name} in it`)

async function openZip(path: string): Promise<ZipFile> {
  try {
    // To open a pipe waits for who writes to it.
    if (!(await stat(path)).isFile()) throw new Error('it is no regular file')
    return await openArchive(path)
  } catch (error) {
    throw new BundleError(`it cannot be read: ${reasonOf(error)}`, { cause: error })
  }
}

async function knownEntries(zip: ZipFile): Promise<Map<string, Entry>> {
  if (zip.entryCount > MAX_ENTRIES) {
    throw new BundleError(`it is no evidence bundle: it has ${zip.entryCount} entries`)
  }
  const known = new Map<string, Entry>()
  const seen = new Set<string>()
  const places: Place[] = []
  for await (const entry of reported(zip.eachEntry())) {
    const local = await localHeaderOf(zip, entry)
    refuseDisguise(entry, local)
    places.push(placeOf(entry, local))
    const { fileName } = entry
    const name = bundleNameOf(fileName)
    if (name === undefined) continue
    if (name !== fileName) throw new BundleError(`it has another file that is unpacked as ${name}`)
    if (seen.has(name)) throw new BundleError(`it has ${name} twice`)
    seen.add(name)
    if (name !== BUNDLE.content && limitOf(name) === undefined) continue
    if (entry.isEncrypted()) throw new BundleError(`${fileName} in it is encrypted`)
    if (!entry.canDecodeFileData()) {
      throw new BundleError(`${fileName} in it is compressed in a way that is not known here`)
    }
    known.set(fileName, entry)
  }
  const fault = await faultOfLayout(zip, places).catch((error: unknown) => {
    throw damaged(undefined, error)
  })
  if (fault !== undefined) throw ambiguous(fault)
  return known
}

const ambiguous = (why: string): BundleError =>
  new BundleError(`other programs may unpack it otherwise: ${why}`)

/** Undefined for files that nothing is checked of. */
const limitOf = (name: string): number | undefined => {
  if (name.startsWith('hash_tree/')) return HASH_LIMIT
  return Object.hasOwn(LIMITS, name) ? LIMITS[name] : undefined
}

const UNIX = 3
const FILE_TYPE = 0o170000
const FILE_TYPES: readonly number[] = [0, 0o100000, 0o040000]

/** Gives a file another name, which some programs take and others do not: Info-ZIP Unicode Path. */
const UNICODE_PATH = 0x7075
const isRenamed = (extraFields: Buffer): boolean =>
  parseExtraFields(extraFields).some(({ id }) => id === UNICODE_PATH)

/** The header before the bytes of an entry. @throws BundleError */
async function localHeaderOf(zip: ZipFile, entry: Entry): Promise<LocalFileHeader> {
  try {
    return await zip.readLocalFileHeaderPromise(entry, { minimal: false })
  } catch (error) {
    throw damaged(undefined, error)
  }
}

/**
 * Refuses what other programs would unpack otherwise than it is read here: links, and files of which
 * the directory of the archive tells another name, packing, checksum or length than the header before
 * their bytes or an extra field.
 * @throws BundleError
 */
function refuseDisguise(entry: Entry, local: LocalFileHeader): void {
  const mode = entry.versionMadeBy >> 8 === UNIX ? entry.externalFileAttributes >>> 16 : 0
  if (!FILE_TYPES.includes(mode & FILE_TYPE)) {
    throw new BundleError('it has a link, or another thing that is neither file nor folder')
  }
  let named: boolean
  let fits: boolean
  try {
    const renamed = [entry.extraFieldRaw, local.extraField].some(isRenamed)
    named = entry.fileNameRaw.equals(local.fileName) && !renamed
    fits = headerFits(entry, local)
  } catch (error) {
    throw damaged(undefined, error)
  }
  if (!named) throw new BundleError('it has a file under two names')
  if (!fits) {
    throw ambiguous(
      `the header before ${entry.fileName} does not say what the directory says of it`,
    )
  }
}

async function readSmall(zip: ZipFile, entry: Entry): Promise<Buffer> {
  const limit = limitOf(entry.fileName) ?? 0
  // More does not come than is declared.
  if (entry.uncompressedSize > limit) {
    throw new BundleError(`${entry.fileName} in it is longer than ${limit} bytes`)
  }
  const pieces: Buffer[] = []
  for await (const piece of piecesOf(zip, entry)) pieces.push(piece)
  return Buffer.concat(pieces)
}

/** The bytes of an entry; the last piece comes before its checksum is compared. */
async function* piecesOf(zip: ZipFile, entry: Entry): AsyncGenerator<Buffer> {
  const { fileName } = entry
  let stream: Readable
  try {
    stream = await zip.openReadStreamPromise(entry)
  } catch (error) {
    throw damaged(fileName, error)
  }
  let checksum = 0
  let size = 0
  for await (const piece of reported<Buffer>(stream, fileName)) {
    checksum = crc32(piece, checksum)
    size += piece.length
    yield piece
  }
  if (size !== entry.uncompressedSize || checksum !== entry.crc32) {
    throw new BundleError(`${fileName} in it is damaged: its length or its checksum is wrong`)
  }
}

async function* reported<T>(source: AsyncIterable<T>, name?: string): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]()
  try {
    for (;;) {
      const { done, value } = await iterator.next().catch((error: unknown) => {
        throw damaged(name, error)
      })
      if (done) return
      yield value
    }
  } finally {
    await iterator.return?.()
  }
}

function damaged(name: string | undefined, error: unknown): BundleError {
  const what = name === undefined ? 'it is damaged' : `${name} in it is damaged`
  return new BundleError(`${what}: ${reasonOf(error)}`, { cause: error })
}
