import { detail, RETRY_LATER } from './problems.js'

/** What bounds the uploads of all kinds. */
export interface UploadLimits {
  /** Longest body or resumable file in bytes. */
  readonly maxBytes: number
  /** Most files in one upload. */
  readonly maxFiles: number
  /** Longest wait for the client's next bytes in milliseconds. */
  readonly idleMs: number
  readonly gate: UploadGate
}

/** Limits the uploads that are under way at the same time. */
export class UploadGate {
  readonly #most: number
  #inside = 0

  constructor(most: number) {
    this.#most = most
  }

  /** Runs an upload. @throws HttpProblem 503 when there are too many, or what the upload throws */
  async pass<T>(upload: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.#most) {
      throw detail(503, 'Too many uploads at the same time: try again', RETRY_LATER)
    }
    this.#inside++
    try {
      return await upload()
    } finally {
      this.#inside--
    }
  }
}
