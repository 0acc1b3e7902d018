/** What some fault tests need of the machine: they are skipped, and say why, where it is not given. */
import { spawnSync } from 'node:child_process'

/**
 * Skips a test for want of a right that the machine does not give, and says so.
 * @param skip of the test's context; ends the test
 */
export function skipFor(skip: (reason: string) => void, reason: string): void {
  console.warn(`skipped: ${reason}`)
  skip(reason)
}

/** Skips a test for want of a program; where `CI` is set that is a failure. */
export function skipWithout(skip: (reason: string) => void, program: string): void {
  if (process.env.CI) throw new Error(`${program} is not installed, and CI is set`)
  skipFor(skip, `${program} is not installed`)
}

/** Runs a program to its end; gives what it said when it failed, else undefined. */
export function failureOf(program: string, args: readonly string[]): string | undefined {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' })
  return status === 0 ? undefined : (error?.message ?? stderr)
}

/**
 * Mounts an empty file system in memory over a directory.
 * @param options of `mount`, such as `size=8m`
 * @returns false where mounting is not allowed
 */
export function mountMemory(directory: string, options: string): boolean {
  const args = ['-t', 'tmpfs', '-o', `${options},mode=755`, 'bytes-test', directory]
  return failureOf('mount', args) === undefined
}

/** Remounts with other options, such as `ro`. @throws Error when it cannot be done */
export function remount(directory: string, options: string): void {
  const failure = failureOf('mount', ['-o', `remount,${options}`, directory])
  if (failure !== undefined) throw new Error(`${directory} could not be remounted: ${failure}`)
}

/** Takes a file system away, also while it is used. */
export function unmount(directory: string): void {
  failureOf('umount', ['-l', directory])
}
