import { type ExecFileException, execFile } from 'node:child_process'

/** The user that Postgres runs as. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/**
 * `nobody`, for when this process is root: Postgres refuses to run as root, and initdb refuses a
 * user that has no name.
 */
export const unprivilegedAccount: Account = { uid: 65534, gid: 65534 }

export function isRoot(): boolean {
  return process.geteuid?.() === 0
}

/** Environment of the programs of Postgres: none of our `PG*` variables may change what they do. */
export function childEnvironment(): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
    LC_ALL: 'C',
    TZ: 'UTC',
  }
  const libraries = process.env.LD_LIBRARY_PATH
  if (libraries !== undefined) environment.LD_LIBRARY_PATH = libraries
  return environment
}

/**
 * Runs a program to its end.
 * @param account null for the user of this process
 * @returns whether it exited with 0, and what it wrote; a program that cannot be executed is not ok
 * @throws Error when this process may not change its user
 */
export function runAs(
  account: Account | null,
  file: string,
  args: readonly string[],
): Promise<{ ok: boolean; output: string }> {
  return new Promise((resolve, reject) => {
    const finished = (error: ExecFileException | null, stdout: string, stderr: string): void => {
      if (account !== null && error?.syscall === `spawn ${file}` && refusals.has(`${error.code}`)) {
        reject(cannotChangeUser(account))
      } else {
        resolve({ ok: error === null, output: `${stdout}${stderr}` || (error?.message ?? '') })
      }
    }
    execFile(file, args, { cwd: '/', env: childEnvironment(), ...account }, finished)
  })
}

/** What setuid fails with: no capability, or a uid that the user namespace has not. */
const refusals = new Set(['EPERM', 'EINVAL'])

function cannotChangeUser({ uid }: Account): Error {
  return new Error(
    `Postgres does not run as root, and this process may not start it as uid ${uid}: ` +
      'run Bytes as an ordinary user, or set BYTES_DB_URI',
  )
}

/** True when that user can enter the directory. */
export async function canEnter(account: Account, directory: string): Promise<boolean> {
  return (await runAs(account, '/bin/sh', ['-c', 'cd -- "$1"', 'sh', directory])).ok
}
