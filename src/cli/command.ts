/** What a command of the program is. */
import { escaped } from '../client/text.js'

/** One command. */
export interface Command {
  /** The text of `--help`; ends with a line break. */
  readonly usage: string
  /**
   * @param args what follows the command's name
   * @returns the exit code
   * @throws UsageError when the arguments cannot be used
   */
  run(args: string[]): Promise<number>
}

/** Arguments that a command cannot use. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Tells of a failure on the standard error, in these lines whatever is in their text. */
export function complain(...lines: readonly string[]): void {
  process.stderr.write(`bytes: ${lines.map(escaped).join('\n')}\n`)
}

/**
 * Runs what can be interrupted. After SIGINT or SIGTERM its signal aborts, and when it has cleaned up
 * the process ends by that signal, as shells expect. A second one ends it at once.
 */
export async function interruptible<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const signals = ['SIGINT', 'SIGTERM'] as const
  let received: NodeJS.Signals | undefined
  const stop = (signal: NodeJS.Signals): void => {
    received = signal
    ignore()
    controller.abort()
  }
  const ignore = (): void => {
    for (const signal of signals) process.off(signal, stop)
  }
  for (const signal of signals) process.on(signal, stop)
  try {
    return await run(controller.signal)
  } finally {
    ignore()
    if (received !== undefined) process.kill(process.pid, received)
  }
}
