import { canonicalMimeTypes, mimeTypesDigest } from '../domain/mime-types.js'
import { mimeTypesText } from '../domain/wire-text.js'
import type { HeldContent } from './staging.js'
import { createTurns } from './turns.js'

/** One file of an upload, whose content has been read. */
export interface ReceivedFile {
  /** Free text that the client finds its raw file by in the answer. */
  readonly name: string
  /** Name to save it under, in any form; null when there is none. */
  readonly fileName: string | null
  /** MIME types, in any order and with repetitions. */
  readonly tags: readonly string[]
  readonly content: HeldContent
}

export interface TaggedFile extends ReceivedFile {
  /** Canonical. */
  readonly mimeTypes: readonly string[]
  readonly mimeTypesDigest: Buffer
  /** Characters of the MIME types in the file's event. */
  readonly mimeTypesLength: number
  /** Tells the files of a job apart: the digest in hex. */
  readonly key: string
}

/** Tags that are put in order between two turns of others: a few milliseconds. */
const TAGS_AT_ONCE = 5_000

/** Brings the MIME types of the files into their one form. */
export async function tagAll(files: readonly ReceivedFile[]): Promise<TaggedFile[]> {
  const turn = createTurns(TAGS_AT_ONCE)
  const all: TaggedFile[] = []
  for (const file of files) {
    all.push(tagged(file))
    await turn(1 + file.tags.length)
  }
  return all
}

function tagged(file: ReceivedFile): TaggedFile {
  const mimeTypes = canonicalMimeTypes(file.tags)
  const digest = mimeTypesDigest(mimeTypes)
  return {
    ...file,
    mimeTypes,
    mimeTypesDigest: digest,
    mimeTypesLength: mimeTypesText(mimeTypes).length,
    key: digest.toString('hex'),
  }
}
