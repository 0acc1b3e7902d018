import { createHash } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'

/** SHA-512 of bytes that come in pieces. */
export interface PieceHash {
  /** Memory for a piece that `update` is to be given. */
  allocate(size: number): Buffer
  /** Adds a piece, which must stay as it is. Resolves when the next may come. */
  update(piece: Buffer): Promise<void>
  /** In lower-case hex. Nothing may be added after it. */
  digest(): Promise<string>
  /** Lets go of what `digest` has not ended. May be called at any time. */
  drop(): void
}

/** More would leave no core for the requests themselves, or find none. */
const MOST_THREADS = Math.min(4, Math.max(1, availableParallelism() - 1))
/** Pieces of one hash that may wait in a thread: it has work while the next piece is read. */
const MOST_WAITING = 2

interface Order {
  readonly id: number
  readonly kind: 'update' | 'digest' | 'drop'
  readonly piece: Uint8Array | undefined
}

/** Tells that an order was carried out. */
interface Done {
  readonly id: number
  readonly digest?: string
}

/** What a thread runs, from its text: it can use nothing but its parameters. */
function work(threads: typeof import('node:worker_threads'), crypto: typeof import('node:crypto')) {
  const hashes = new Map<number, import('node:crypto').Hash>()
  threads.parentPort?.on('message', ({ id, kind, piece }: Order) => {
    const hash = hashes.get(id) ?? crypto.createHash('sha512')
    hashes.set(id, hash)
    if (piece) hash.update(piece)
    if (kind !== 'update') hashes.delete(id)
    if (kind === 'drop') return
    threads.parentPort?.postMessage({
      id,
      ...(kind === 'digest' && { digest: hash.digest('hex') }),
    })
  })
}

/** A hash on this thread, for what takes no longer than handing it over. */
export function hashHere(): PieceHash {
  const hash = createHash('sha512')
  return {
    allocate: (size) => Buffer.allocUnsafeSlow(size),
    update: async (piece) => {
      hash.update(piece)
    },
    digest: async () => hash.digest('hex'),
    drop: () => undefined,
  }
}

/** Hashes on other threads, which are started when they are wanted and never hold up an exit. */
export class HashThreads {
  readonly #threads = new Set<Thread>()
  #lastId = 0

  start(): PieceHash {
    const idle = [...this.#threads].sort((a, b) => a.busy - b.busy)[0]
    const wanted = !idle || (idle.busy > 0 && this.#threads.size < MOST_THREADS)
    const thread = wanted ? new Thread((failed) => this.#threads.delete(failed)) : idle
    this.#threads.add(thread)
    return thread.start(++this.#lastId)
  }
}

interface Running {
  /** Orders that are not carried out yet. */
  waiting: number
  progress: () => void
  finish: (digest: string) => void
  fail: (error: Error) => void
}

class Thread {
  readonly #worker = new Worker(
    `(${work})(require('node:worker_threads'), require('node:crypto'))`,
    { eval: true },
  )
  readonly #running = new Map<number, Running>()

  constructor(onFailed: (thread: Thread) => void) {
    this.#worker.unref()
    this.#worker.on('message', ({ id, digest }: Done) => {
      const running = this.#running.get(id)
      if (!running) return
      running.waiting--
      if (digest !== undefined) running.finish(digest)
      else running.progress()
    })
    this.#worker.on('error', (error) => {
      onFailed(this)
      for (const running of this.#running.values()) running.fail(error)
    })
  }

  /** Hashes that run. */
  get busy(): number {
    return this.#running.size
  }

  start(id: number): PieceHash {
    let wake: () => void = () => undefined
    let failure: Error | undefined
    const ended = new Promise<string>((resolve, reject) => {
      this.#running.set(id, {
        waiting: 0,
        progress: () => wake(),
        finish: resolve,
        fail: (error) => {
          failure = error
          wake()
          reject(error)
        },
      })
    })
    // Whoever waits for the digest learns of it, and `update` tells the others.
    ended.catch(() => undefined)
    this.#worker.ref()
    const order = (kind: Order['kind'], piece?: Buffer): Running | undefined => {
      const running = this.#running.get(id)
      if (running) {
        running.waiting++
        this.#worker.postMessage({ id, kind, piece } satisfies Order)
      }
      return running
    }
    const end = (): void => {
      this.#running.delete(id)
      if (this.#running.size === 0) this.#worker.unref()
    }
    return {
      allocate: (size) => Buffer.from(new SharedArrayBuffer(size)),
      update: async (piece) => {
        const running = order('update', piece)
        while (running && !failure && running.waiting > MOST_WAITING) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
        if (failure) throw failure
      },
      digest: async () => {
        order('digest')
        try {
          return await ended
        } finally {
          end()
        }
      },
      drop: () => {
        order('drop')
        end()
      },
    }
  }
}
