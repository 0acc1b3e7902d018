/** A line on a terminal that tells how far a transfer is. */

const REDRAW_MS = 100
/** The speed is that of the last so many milliseconds. */
const WINDOW_MS = 5000
const MEBIBYTE = 1024 * 1024

export interface Progress {
  /** @param total undefined when it is not known */
  update(done: number, total: number | undefined): void
  /** Takes the line away. */
  finish(): void
}

/** Where the line goes. */
export interface Screen {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

/**
 * Draws on a terminal, at most ten times a second; elsewhere it does nothing.
 * @param now milliseconds of a clock that does not jump
 */
export function createProgress(
  label: string,
  screen: Screen = process.stderr,
  now: () => number = () => performance.now(),
): Progress {
  if (screen.isTTY !== true) return { update: () => undefined, finish: () => undefined }
  let samples: { at: number; done: number }[] = []
  let drawnAt = Number.NEGATIVE_INFINITY
  return {
    update(done, total) {
      const at = now()
      // What is sent again does not count as speed.
      if (done < (samples.at(-1)?.done ?? 0)) samples = []
      if (at - drawnAt < REDRAW_MS && done !== total) return
      drawnAt = at
      samples.push({ at, done })
      samples = samples.filter((sample) => at - sample.at <= WINDOW_MS)
      const first = samples[0] ?? { at, done }
      const speed = at > first.at ? ((done - first.done) / (at - first.at)) * 1000 : undefined
      const line = progressLine(label, done, total, speed)
      screen.write(`\r\x1b[K${[...line].slice(0, (screen.columns ?? 80) - 1).join('')}`)
    },
    finish() {
      if (drawnAt > Number.NEGATIVE_INFINITY) screen.write('\r\x1b[K')
    },
  }
}

/**
 * Share, speed and remaining time.
 * @param speed in bytes a second; undefined when it is not known yet
 */
export function progressLine(
  label: string,
  done: number,
  total: number | undefined,
  speed: number | undefined,
): string {
  const share =
    total === undefined
      ? `${(done / MEBIBYTE).toFixed(1)} MiB`
      : `${String(total === 0 ? 100 : Math.floor((done / total) * 100)).padStart(3)} %`
  const parts = [label, share]
  if (speed !== undefined) parts.push(`${(speed / MEBIBYTE).toFixed(1)} MiB/s`)
  if (speed !== undefined && speed > 0 && total !== undefined) {
    parts.push(`${duration((total - done) / speed)} left`)
  }
  return parts.join('  ')
}

/** `h:mm:ss` or `m:ss`; the seconds are rounded up. */
function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  const two = (value: number): string => String(value).padStart(2, '0')
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`
}
