/** The end of a content that must not be seen before the whole is known to be right. */
import { orAborted } from './errors.js'
import type { Target } from './sink.js'

/** What is held back of a stream, in bytes: at the least all of its last chunk. */
const HELD = 64 * 1024

/**
 * The target without its last 64 KiB, which it gets at the commit.
 * @param signal ends the wait for whoever reads the stream, and may take nothing of it for long
 */
export function holdingBack(target: Target, signal: AbortSignal | undefined): Target {
  const held: Uint8Array[] = []
  let size = 0
  return {
    async write(chunk) {
      held.push(chunk)
      size += chunk.byteLength
      for (let first = held[0]; first && size - first.byteLength >= HELD; first = held[0]) {
        held.shift()
        size -= first.byteLength
        await orAborted(target.write(first), signal)
      }
    },
    async commit() {
      for (const chunk of held.splice(0)) await orAborted(target.write(chunk), signal)
      await target.commit()
    },
    close: () => target.close(),
  }
}
