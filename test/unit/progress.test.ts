import fc from 'fast-check'
import stringWidth from 'string-width'
import { expect, it } from 'vitest'
import { createProgress, fitted, progressText } from '../../src/cli/progress.js'

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
  expect(progressText(0, 4 * MEBIBYTE, undefined)).toBe('  0 %')
  expect(progressText(MEBIBYTE, 4 * MEBIBYTE, MEBIBYTE)).toBe(' 25 %  1.0 MiB/s  0:03 left')
  expect(progressText(0, 7200 * MEBIBYTE, MEBIBYTE)).toBe('  0 %  1.0 MiB/s  2:00:00 left')
  expect(progressText(3 * MEBIBYTE, undefined, 0)).toBe('3.0 MiB  0.0 MiB/s')
  expect(progressText(0, 0, undefined)).toBe('100 %')
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

it('tells of a wait: on a terminal in the line, elsewhere once each time', () => {
  const screen = terminal()
  const progress = createProgress('x', { screen })
  progress.waiting('it is full')
  expect(screen.written).toEqual(['\r\x1b[Kx  waiting for the service: it is full'])
  progress.finish()
  expect(screen.written.at(-1)).toBe('\r\x1b[K')

  const plain = { ...terminal(), isTTY: false }
  const quiet = createProgress('x', { screen: plain })
  quiet.waiting('it is full')
  quiet.waiting('it is still full')
  quiet.update(1, 2)
  quiet.waiting('it is full\nagain')
  quiet.finish()
  expect(plain.written).toEqual([
    'bytes: waiting for the service: it is full\n',
    'bytes: waiting for the service: it is full\\u000aagain\n',
  ])
})

it('shows a better name once it is known, and nothing that does something to a terminal', () => {
  const screen = terminal()
  const progress = createProgress('id\u001b[2J', { screen })
  progress.update(1, 2)
  expect(screen.written[0]).toBe('\r\x1b[Kid\\u001b[2J   50 %')
  progress.update(2, 2, 'n\u202eame')
  expect(screen.written[1]).toContain('n\\u202eame  100 %')
})

it('fits the terminal: the name gives way, by cells and whole characters', () => {
  expect(fitted('a name that is far too long', ' 50 %', 19)).toBe('a name that…   50 %')
  expect(fitted('漢字漢字漢字漢字', ' 50 %', 19)).toBe('漢字漢字漢…   50 %')
  expect(fitted('short', ' 50 %', 19)).toBe('short   50 %')
  expect(fitted('name', '100 %  10.0 MiB/s', 8)).toBe('100 %  …')
  const label = fc.string({
    unit: fc.oneof(
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
      fc.constantFrom('漢', 'é', '👨‍👩‍👧', '🇳🇱', '①', 'ｗ'),
    ),
  })
  fc.assert(
    fc.property(label, fc.integer({ min: 1, max: 60 }), (text, cells) => {
      expect(stringWidth(fitted(text, ' 50 %  1.0 MiB/s', cells))).toBeLessThanOrEqual(cells)
    }),
  )
  const screen = terminal(20)
  createProgress('漢'.repeat(50), { screen }).update(1, 2)
  expect(stringWidth(screen.written[0]?.replace('\r\x1b[K', '') ?? '')).toBe(18)
})
