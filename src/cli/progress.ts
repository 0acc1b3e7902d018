/** A line on a terminal that tells how far something is. */
import stringWidth from 'string-width'
import { printable } from '../client/text.js'

const REDRAW_MS = 100
/** The speed is that of the last so many milliseconds. */
const WINDOW_MS = 5000
const MEBIBYTE = 1024 * 1024

export interface Progress {
  /**
   * @param total undefined when it is not known
   * @param name a better one than the label, once it is known
   */
  update(done: number, total: number | undefined, name?: string): void
  /** Tells that and why the service is waited for; where there is no terminal, once each time. */
  waiting(why: string): void
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
  /** Milliseconds between lines where there is no terminal; without it none tell how far it is. */
  readonly plainMs?: number
  readonly screen?: Screen
  /** Milliseconds of a clock that does not jump. */
  readonly now?: () => number
}

/**
 * Draws one line over and over on a terminal, at most ten times a second; elsewhere it writes lines.
 * @param label of what is done; whatever is in it does nothing to the terminal
 */
export function createProgress(label: string, options: ProgressOptions = {}): Progress {
  const {
    unit = mebibytes,
    screen = process.stderr,
    now = () => performance.now(),
    plainMs = Number.POSITIVE_INFINITY,
  } = options
  const terminal = screen.isTTY === true
  const intervalMs = terminal ? REDRAW_MS : plainMs
  let samples: { at: number; done: number }[] = []
  let drawnAt = terminal ? Number.NEGATIVE_INFINITY : now()
  let drawn = false
  let told = false
  let shown = printable(label)
  const draw = (rest: string): void => {
    drawn = true
    if (terminal) screen.write(`\r\x1b[K${fitted(shown, rest, (screen.columns ?? 80) - 1)}`)
    else screen.write(`${shown}  ${rest}\n`)
  }
  return {
    update(done, total, name) {
      const at = now()
      told = false
      if (name !== undefined) shown = printable(name)
      // What is sent again does not count as speed.
      if (done < (samples.at(-1)?.done ?? 0)) samples = []
      if (at - drawnAt < intervalMs && !(terminal && done === total)) return
      drawnAt = at
      samples.push({ at, done })
      samples = samples.filter((sample) => at - sample.at <= WINDOW_MS)
      const first = samples[0] ?? { at, done }
      const speed = at > first.at ? ((done - first.done) / (at - first.at)) * 1000 : undefined
      draw(progressText(done, total, speed, unit))
    },
    waiting(why) {
      const text = `waiting for the service: ${printable(why)}`
      if (terminal) draw(text)
      else if (!told) screen.write(`bytes: ${text}\n`)
      told = true
    },
    finish() {
      if (terminal && drawn) screen.write('\r\x1b[K')
      drawn = false
    },
  }
}

/**
 * Share, speed and remaining time.
 * @param speed amount a second; undefined when it is not known yet
 */
export function progressText(
  done: number,
  total: number | undefined,
  speed: number | undefined,
  unit: Unit = mebibytes,
): string {
  const share =
    total === undefined
      ? unit(done)
      : `${String(total === 0 ? 100 : Math.floor((done / total) * 100)).padStart(3)} %`
  const parts = [share]
  if (speed !== undefined) parts.push(`${unit(speed)}/s`)
  if (speed !== undefined && speed > 0 && total !== undefined) {
    parts.push(`${duration((total - done) / speed)} left`)
  }
  return parts.join('  ')
}

/** Label and rest in at most so many cells of a terminal: the label gives way first. */
export function fitted(label: string, rest: string, cells: number): string {
  const room = cells - stringWidth(rest) - 2
  const short = room > 0 ? shortened(label, room) : ''
  return shortened(short === '' ? rest : `${short}  ${rest}`, cells)
}

/** Characters as a reader sees them: a letter with its accents is one. */
const SEGMENTER = new Intl.Segmenter()

function shortened(text: string, cells: number): string {
  if (stringWidth(text) <= cells) return text
  let kept = ''
  let room = cells - 1
  for (const { segment } of SEGMENTER.segment(text)) {
    room -= stringWidth(segment)
    if (room < 0) break
    kept += segment
  }
  return cells > 0 ? `${kept}…` : ''
}

/** `h:mm:ss` or `m:ss`; the seconds are rounded up. */
function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  const two = (value: number): string => String(value).padStart(2, '0')
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`
}
