import type { ByteSource, RawRepository, StagedBlob } from '../domain/ports.js'
import {
  type ContentHashes,
  type Hasher,
  type HashingAlgorithm,
  startHash,
} from '../hashing/hasher.js'

/** Content of an upload that is hashed and kept, in memory or in storage, until it is needed. */
export interface HeldContent {
  readonly hashes: ContentHashes
}

/** Contents up to this size are kept in memory, until all of them together reach `MAX_HELD`. */
const SMALL = 64 * 1024
const MAX_HELD = 512 * 1024
/** Contents that are written at the same time. */
const CONCURRENCY = 8

interface Held extends HeldContent {
  bytes: readonly Uint8Array[] | undefined
  staged: StagedBlob | undefined
}

/**
 * The contents of one upload, on their way to storage: large ones are written while they arrive.
 * Whatever happens, `discard` must be called in the end.
 */
export class Staging {
  readonly #raw: RawRepository
  readonly #algorithm: HashingAlgorithm
  readonly #all = new Map<HeldContent, Held>()
  #inMemory = 0

  constructor(raw: RawRepository, algorithm: HashingAlgorithm) {
    this.#raw = raw
    this.#algorithm = algorithm
  }

  /**
   * Reads a content to its end and keeps it.
   * @throws whatever `content` throws, or `RawRepository.stage`
   */
  async hold(content: ByteSource): Promise<HeldContent> {
    const hash = startHash(this.#algorithm)
    const pieces = iterate(content)
    const first: Uint8Array[] = []
    let size = 0
    for (;;) {
      const { done, value } = await pieces.next()
      if (done) return this.#keepInMemory(first, size, hash)
      first.push(value)
      size += value.length
      if (size > SMALL) return this.#write(first, pieces, hash)
    }
  }

  /**
   * Stages what is in memory only, of the given contents.
   * @returns the staged blobs, in order
   */
  async stage(contents: readonly HeldContent[]): Promise<StagedBlob[]> {
    const held = contents.map((content) => this.#ours(content))
    await this.#stageAll(held)
    return held.map(({ staged }) => {
      if (!staged) throw new Error('a content was discarded before it was staged')
      return staged
    })
  }

  /** Removes what was not published. Never rejects. */
  async discard(): Promise<void> {
    for (const { staged } of this.#all.values()) await staged?.discard()
    this.#all.clear()
  }

  async #keepInMemory(bytes: Uint8Array[], size: number, hash: Hasher): Promise<HeldContent> {
    for (const piece of bytes) hash.update(piece)
    const held: Held = { hashes: hash.finish(), bytes, staged: undefined }
    this.#all.set(held, held)
    this.#inMemory += size
    if (this.#inMemory > MAX_HELD) await this.#stageAll([...this.#all.values()])
    return held
  }

  async #write(
    first: readonly Uint8Array[],
    rest: AsyncGenerator<Uint8Array>,
    hash: Hasher,
  ): Promise<HeldContent> {
    async function* hashed(): AsyncGenerator<Uint8Array> {
      for (const piece of first) {
        hash.update(piece)
        yield piece
      }
      for await (const piece of rest) {
        hash.update(piece)
        yield piece
      }
    }
    let hashes: ContentHashes | undefined
    const finish = (): ContentHashes => {
      hashes ??= hash.finish()
      return hashes
    }
    const storing = this.#raw.stage(hashed(), () => finish().contentDigest)
    const staged = await storing.catch(async (error: unknown) => {
      // Storage may have failed before it asked for a piece: the source would stay open. How its
      // end goes is no news beside that.
      await rest.return(undefined).catch(() => undefined)
      throw error
    })
    const held: Held = { hashes: finish(), bytes: undefined, staged }
    this.#all.set(held, held)
    return held
  }

  /** Comes to an end for all of them before it throws, so that `discard` finds everything. */
  async #stageAll(contents: readonly Held[]): Promise<void> {
    const waiting = contents.filter(({ bytes }) => bytes !== undefined)
    const work = async (): Promise<void> => {
      for (let held = waiting.shift(); held; held = waiting.shift()) {
        const { bytes = [], hashes } = held
        held.bytes = undefined
        held.staged = await this.#raw.stage(bytes, () => hashes.contentDigest)
      }
    }
    const workers = Array.from({ length: Math.min(CONCURRENCY, waiting.length) }, work)
    this.#inMemory = 0
    for (const outcome of await Promise.allSettled(workers)) {
      if (outcome.status === 'rejected') throw outcome.reason
    }
  }

  #ours(content: HeldContent): Held {
    const held = this.#all.get(content)
    if (!held) throw new Error('a content was not held here')
    return held
  }
}

async function* iterate(source: ByteSource): AsyncGenerator<Uint8Array> {
  yield* source
}
