import { createHash } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'

/** SHA-512 of bytes that come in pieces. */
export interface PieceHash {
  /** Adds a piece, which is the caller's again when the promise resolves. */
  update(piece: Uint8Array): Promise<void>
  /** In lower-case hex. Nothing may be added after it. */
  digest(): Promise<string>
  /** Lets go of what `digest` has not ended. May be called at any time. */
  drop(): void
}

/** More would leave no core for the requests themselves, or find none. */
const MOST_THREADS = Math.min(4, Math.max(1, availableParallelism() - 1))
/** Pieces of one hash that may wait in a thread: it has work while the next piece is read. */
const MOST_WAITING = 2
/** Size of a slot: memory that both threads see, to hand over up to so many bytes. */
const SLOT_SIZE = 256 * 1024

type Order =
  /** Slots are made once and used again: a thread that does little else would never let go of them. */
  | { readonly kind: 'slot'; readonly slot: number; readonly memory: SharedArrayBuffer }
  | {
      readonly kind: 'update'
      readonly id: number
      readonly slot: number
      readonly length: number
    }
  | { readonly kind: 'digest' | 'drop'; readonly id: number }

/** Tells that an update or a digest was carried out. */
type Done =
  | { readonly id: number; readonly slot: number }
  | { readonly id: number; readonly digest: string }

/** What a thread runs, from its text: it can use nothing but its parameters. */
function work(threads: typeof import('node:worker_threads'), crypto: typeof import('node:crypto')) {
  const hashes = new Map<number, import('node:crypto').Hash>()
  const slots = new Map<number, SharedArrayBuffer>()
  threads.parentPort?.on('message', (order: Order) => {
    if (order.kind === 'slot') {
      slots.set(order.slot, order.memory)
      return
    }
    const { id } = order
    const hash = hashes.get(id) ?? crypto.createHash('sha512')
    if (order.kind === 'update') {
      const memory = slots.get(order.slot)
      if (memory) hash.update(new Uint8Array(memory, 0, order.length))
      hashes.set(id, hash)
      threads.parentPort?.postMessage({ id, slot: order.slot })
      return
    }
    hashes.delete(id)
    if (order.kind === 'digest') threads.parentPort?.postMessage({ id, digest: hash.digest('hex') })
  })
}

/** A hash on this thread, for what takes no longer than handing it over. */
export function hashHere(): PieceHash {
  const hash = createHash('sha512')
  return {
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
  /** Pieces that wait. */
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
  readonly #slots: Uint8Array[] = []
  readonly #free: number[] = []

  constructor(onFailed: (thread: Thread) => void) {
    this.#worker.unref()
    this.#worker.on('message', (done: Done) => {
      const running = this.#running.get(done.id)
      if ('digest' in done) {
        running?.finish(done.digest)
        return
      }
      this.#free.push(done.slot)
      if (!running) return
      running.waiting--
      running.progress()
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
    const end = (): void => {
      this.#running.delete(id)
      if (this.#running.size === 0) this.#worker.unref()
    }
    return {
      update: async (piece) => {
        const running = this.#running.get(id)
        for (let at = 0; running && at < piece.length; at += SLOT_SIZE) {
          if (failure) throw failure
          running.waiting++
          this.#hand(id, piece.subarray(at, at + SLOT_SIZE))
          while (!failure && running.waiting > MOST_WAITING) {
            await new Promise<void>((resolve) => {
              wake = resolve
            })
          }
        }
        if (failure) throw failure
      },
      digest: async () => {
        this.#order({ kind: 'digest', id })
        try {
          return await ended
        } finally {
          end()
        }
      },
      drop: () => {
        this.#order({ kind: 'drop', id })
        end()
      },
    }
  }

  /** @param bytes up to a slot */
  #hand(id: number, bytes: Uint8Array): void {
    const slot = this.#free.pop() ?? this.#makeSlot()
    this.#slots[slot]?.set(bytes)
    this.#order({ kind: 'update', id, slot, length: bytes.length })
  }

  #makeSlot(): number {
    const memory = new SharedArrayBuffer(SLOT_SIZE)
    const slot = this.#slots.push(new Uint8Array(memory)) - 1
    this.#order({ kind: 'slot', slot, memory })
    return slot
  }

  #order(order: Order): void {
    this.#worker.postMessage(order)
  }
}
