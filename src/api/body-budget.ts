import { detail } from './problems.js'

/** Bodies up to this size are not counted: they must get through beside the large ones. */
const SMALL_BYTES = 1024 * 1024
/** Seconds after which a client may try again. */
const RETRY_AFTER = '5'

/** A body's part of the budget. */
export interface Share {
  /** @param size bytes of the body that are known of so far. @throws HttpProblem 503 when they are too many */
  grow(size: number): void
  release(): void
}

/**
 * Limits the bytes of large bodies that are held at the same time: each is in memory several times
 * over, as text and as content, until it is stored.
 */
export class BodyBudget {
  readonly #total: number
  #used = 0

  /** @param total bytes of all bodies over 1 MiB together */
  constructor(total: number) {
    this.#total = total
  }

  share(): Share {
    let held = 0
    return {
      grow: (size) => {
        const wanted = Math.max(held, size > SMALL_BYTES ? size : 0)
        if (this.#used + wanted - held > this.#total) {
          throw detail(503, 'Too many large uploads at the same time: try again', {
            'retry-after': RETRY_AFTER,
            connection: 'close',
          })
        }
        this.#used += wanted - held
        held = wanted
      },
      release: () => {
        this.#used -= held
        held = 0
      },
    }
  }
}
