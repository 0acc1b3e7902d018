/** A system clock that a test sets while a process runs: libfaketime, in front of the C library. */
import { spawnSync } from 'node:child_process'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../acceptance/helpers.js'
import type { TestService } from './service.js'

export interface FakeClock {
  /** For the process: its monotonic clock and the times of files stay as they are. */
  readonly environment: Record<string, string>
  /** Seconds that the clock is ahead from now on. */
  set(offset: number): Promise<void>
  remove(): Promise<void>
}

/** @returns undefined where `faketime` is not installed */
export async function fakeClock(): Promise<FakeClock | undefined> {
  // The program knows where its library is.
  const print = ['-m', '-f', '+0s', 'printenv', 'LD_PRELOAD']
  const { status, stdout } = spawnSync('faketime', print, { encoding: 'utf8' })
  if (status !== 0) return undefined
  const directory = await mkdtemp(join(tmpdir(), 'bytes-test-clock-'))
  const file = join(directory, 'offset')
  // In one step: a file that is empty for a moment is the right time.
  const set = async (offset: number): Promise<void> => {
    await writeFile(`${file}.new`, `${offset < 0 ? '' : '+'}${offset}s\n`)
    await rename(`${file}.new`, file)
  }
  await set(0)
  return {
    environment: {
      LD_PRELOAD: stdout.trim(),
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      NO_FAKE_STAT: '1',
    },
    set,
    remove: () => rm(directory, { recursive: true, force: true }),
  }
}

/** Sets the clock of a running service; resolves when the service is seen to have it. */
export async function jump(
  clock: FakeClock,
  service: Pick<TestService, 'url'>,
  offset: number,
): Promise<void> {
  await clock.set(offset)
  await eventually(async () => {
    const date = (await fetch(`${service.url}/health/live`)).headers.get('date') ?? ''
    // Node writes the date anew once a second.
    return Math.abs(Date.parse(date) - Date.now() - offset * 1000) < 3000
  }, `the clock of the service is ${offset} s ahead`)
}
