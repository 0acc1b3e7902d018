import { expect, it } from 'vitest'
import { createProgress, progressLine } from '../../src/cli/progress.js'

const MEBIBYTE = 1024 * 1024

const terminal = (columns = 80) => {
  const written: string[] = []
  return { isTTY: true, columns, written, write: (text: string) => written.push(text) }
}

it('writes nothing where there is no terminal', () => {
  const screen = { ...terminal(), isTTY: false }
  const progress = createProgress('x', { screen })
  progress.update(1, 2)
  progress.finish()
  expect(screen.written).toEqual([])
})

it('draws one line, at most ten times a second, and takes it away', () => {
  const screen = terminal()
  let now = 0
  const progress = createProgress('x', { screen, now: () => now })
  for (; now < 1000; now++) progress.update(now, 5000)
  expect(screen.written.length).toBe(10)
  progress.update(5000, 5000)
  expect(screen.written.length).toBe(11)
  expect(screen.written.at(-1)).toContain('100 %')
  progress.finish()
  expect(screen.written.at(-1)).toBe('\r\x1b[K')
  for (const text of screen.written) {
    expect(text.startsWith('\r\x1b[K')).toBe(true)
    expect(text.slice(1)).not.toMatch(/[\n\r]/)
  }
})

it('writes a line now and then where there is no terminal, if it is told to', () => {
  const screen = { ...terminal(), isTTY: false }
  let now = 0
  const unit = (keys: number): string => `${keys} keys`
  const progress = createProgress('x', { screen, now: () => now, plainMs: 3000, unit })
  for (; now <= 9000; now += 100) progress.update(now / 10, 900)
  progress.finish()
  expect(screen.written).toEqual([
    'x   33 %\n',
    'x   66 %  100 keys/s  0:03 left\n',
    'x  100 %  100 keys/s  0:00 left\n',
  ])
})

it('draws nothing when it never began', () => {
  const screen = terminal()
  createProgress('x', { screen }).finish()
  expect(screen.written).toEqual([])
})

it('tells share, speed and remaining time', () => {
  expect(progressLine('x', 0, 4 * MEBIBYTE, undefined)).toBe('x    0 %')
  expect(progressLine('x', MEBIBYTE, 4 * MEBIBYTE, MEBIBYTE)).toBe('x   25 %  1.0 MiB/s  0:03 left')
  expect(progressLine('x', 0, 7200 * MEBIBYTE, MEBIBYTE)).toBe('x    0 %  1.0 MiB/s  2:00:00 left')
  expect(progressLine('x', 3 * MEBIBYTE, undefined, 0)).toBe('x  3.0 MiB  0.0 MiB/s')
  expect(progressLine('x', 0, 0, undefined)).toBe('x  100 %')
})

it('measures the last seconds, and nothing that is sent again', () => {
  const screen = terminal()
  let now = 0
  const progress = createProgress('x', { screen, now: () => now })
  const at = (seconds: number, mebibytes: number): string => {
    now = seconds * 1000
    progress.update(mebibytes * MEBIBYTE, 1000 * MEBIBYTE)
    return screen.written.at(-1) ?? ''
  }
  at(0, 0)
  expect(at(1, 10)).toContain('10.0 MiB/s')
  expect(at(20, 30)).not.toContain('MiB/s')
  expect(at(21, 32)).toContain('2.0 MiB/s')
  expect(at(22, 20)).not.toContain('MiB/s')
  expect(at(23, 24)).toContain('4.0 MiB/s')
})

it('fits the terminal', () => {
  const screen = terminal(20)
  createProgress('a name that is far too long', { screen }).update(1, 2)
  expect(screen.written[0]?.replace('\r\x1b[K', '').length).toBe(19)
})
