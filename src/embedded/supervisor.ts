import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { type Account, childEnvironment } from './account.js'

/** How a supervised program came to its end. */
export interface Exit {
  /** Exit status as the shell gives it (128 + signal number), null when it could not be started. */
  readonly code: number | null
  /** The last lines that it wrote. */
  readonly output: string
}

/** A program that does not outlive this process. */
export interface Supervised {
  /** Resolves when the program has gone; never rejects. */
  readonly exited: Promise<Exit>
  /** The last lines that it wrote. */
  output(): string
  /** Asks the program to end with SIGINT: for Postgres, to disconnect its clients and shut down. */
  interrupt(): void
  /** Sends SIGQUIT: Postgres then ends at once, and recovers from its log at the next start. */
  quit(): void
}

/**
 * The shell's standard input is a pipe from this process. When it closes, by will or by death, the
 * program gets SIGINT. The shell itself ignores signals: it has to see the program's end.
 */
const script = `
trap '' HUP INT QUIT TERM
trap 'stopping=yes' USR1
stopping=no
holder=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
{ read -r line; kill -USR1 "$$"; kill -INT "$program"; } <&3 >/dev/null 2>&1 &
watcher=$!
exec 3<&- </dev/null
wait "$program"; code=$?
while [ "$stopping" = yes ] && [ "$code" -gt 128 ] && kill -0 "$program" 2>/dev/null; do
  wait "$program"; code=$?
done
# A watcher that has done its work is gone, and its pid may be another's.
[ "$stopping" = yes ] || kill -KILL "$watcher" 2>/dev/null
if [ -n "$holder" ]; then rm -f "$holder/d"; rmdir "$holder"; fi
exit "$code"
`

const keptLines = 40

/**
 * Starts a program that is stopped when this process ends, even by SIGKILL. It gets a session of
 * its own, so that Ctrl-C on a terminal reaches only this process.
 * @param command absolute path of the program and its arguments
 * @param options.account null for the user of this process
 * @param options.holder directory of a symlink `d` to remove after the program's end
 * @param options.onLine called for each line that the program writes
 */
export function supervise(
  command: readonly string[],
  options: {
    account: Account | null
    holder?: string | undefined
    onLine?: ((line: string) => void) | undefined
  },
): Supervised {
  const child = spawn(
    '/bin/sh',
    ['-c', script, 'bytes-postgres', options.holder ?? '', ...command],
    {
      ...options.account,
      cwd: '/',
      env: childEnvironment(),
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  )
  const lines: string[] = []
  const output = (): string => lines.join('\n')
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (lines.push(line) > keptLines) lines.shift()
      options.onLine?.(line)
    })
  }
  child.stdin.on('error', () => {})
  const interrupt = (): void => {
    child.stdin.destroy()
  }
  const exited = new Promise<Exit>((resolve) => {
    child.on('error', (error) => {
      lines.push(error.message)
      if (child.pid === undefined) resolve({ code: null, output: output() })
    })
    child.on('exit', (code) => {
      // Should the shell be killed, its watcher is still there to stop the program.
      interrupt()
      const end = (): void => resolve({ code, output: output() })
      // Its last words may still be in the pipe; a process it left behind must not keep us waiting.
      const timer = setTimeout(end, 1000)
      child.on('close', () => {
        clearTimeout(timer)
        end()
      })
    })
  })
  const quit = (): void => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    try {
      process.kill(-child.pid, 'SIGQUIT')
    } catch {
      // It has just gone.
    }
  }
  return { exited, output, interrupt, quit }
}
