/** A line on a terminal that tells how far something is. */

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

/** An amount as text, such as `1.5 MiB`. */
export type Unit = (amount: number) => string

const mebibytes: Unit = (bytes) => `${(bytes / MEBIBYTE).toFixed(1)} MiB`

/** Where the line goes. */
export interface Screen {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export interface ProgressOptions {
  /** Of what is counted; bytes when left out. */
  readonly unit?: Unit
  /** Milliseconds between lines where there is no terminal; without it nothing is written there. */
  readonly plainMs?: number
  readonly screen?: Screen
  /** Milliseconds of a clock that does not jump. */
  readonly now?: () => number
}

/** Draws one line over and over on a terminal, at most ten times a second. */
export function createProgress(label: string, options: ProgressOptions = {}): Progress {
  const {
    unit = mebibytes,
    plainMs,
    screen = process.stderr,
    now = () => performance.now(),
  } = options
  const terminal = screen.isTTY === true
  if (!terminal && plainMs === undefined) {
    return { update: () => undefined, finish: () => undefined }
  }
  const intervalMs = terminal ? REDRAW_MS : (plainMs ?? 0)
  let samples: { at: number; done: number }[] = []
  let drawnAt = terminal ? Number.NEGATIVE_INFINITY : now()
  return {
    update(done, total) {
      const at = now()
      // What is sent again does not count as speed.
      if (done < (samples.at(-1)?.done ?? 0)) samples = []
      if (at - drawnAt < intervalMs && !(terminal && done === total)) return
      drawnAt = at
      samples.push({ at, done })
      samples = samples.filter((sample) => at - sample.at <= WINDOW_MS)
      const first = samples[0] ?? { at, done }
      const speed = at > first.at ? ((done - first.done) / (at - first.at)) * 1000 : undefined
      const line = progressLine(label, done, total, speed, unit)
      const fitting = [...line].slice(0, (screen.columns ?? 80) - 1).join('')
      screen.write(terminal ? `\r\x1b[K${fitting}` : `${line}\n`)
    },
    finish() {
      if (terminal && drawnAt > Number.NEGATIVE_INFINITY) screen.write('\r\x1b[K')
    },
  }
}

/**
 * Share, speed and remaining time.
 * @param speed amount a second; undefined when it is not known yet
 */
export function progressLine(
  label: string,
  done: number,
  total: number | undefined,
  speed: number | undefined,
  unit: Unit = mebibytes,
): string {
  const share =
    total === undefined
      ? unit(done)
      : `${String(total === 0 ? 100 : Math.floor((done / total) * 100)).padStart(3)} %`
  const parts = [label, share]
  if (speed !== undefined) parts.push(`${unit(speed)}/s`)
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
