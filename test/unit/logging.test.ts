import { describe, expect, it } from 'vitest'
import { createLogger } from '../../src/logging.js'

/** What a logger writes, line by line. */
function linesOf(format: 'json' | 'text', fields: object, message: string): string[] {
  let written = ''
  const destination = {
    write: (text: string) => {
      written += text
    },
  }
  createLogger({ format, level: 'info', destination }).info(fields, message)
  return written.trimEnd().split('\n')
}

describe.each(['json', 'text'] as const)('a log in %s', (format) => {
  const HARMFUL = [
    '\u0007',
    '\u001b[2J',
    '\u007f',
    '\u0085',
    '\u009b2J',
    '\u2028',
    '\u2029',
    '\u202e',
    '\u2066',
  ]

  it('has no sign that a terminal obeys, and no line that a client has begun', () => {
    for (const sign of [...HARMFUL, '\n', '\r\n']) {
      const lines = linesOf(format, { path: `/a${sign}b` }, 'a request')
      expect(lines).toHaveLength(1)
      const [line = ''] = lines
      expect(line).toContain('/a\\')
      // Colours are pino-pretty's own.
      const plain = line.replaceAll(`${String.fromCharCode(27)}[`, '')
      expect(
        [...plain].filter((one) => /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u.test(one)),
      ).toEqual([])
    }
  })

  it('leaves other text as it is', () => {
    const [line] = linesOf(format, { path: '/ünïcode/日本/👩‍💻/"x"' }, 'a request')
    expect(line).toContain('/ünïcode/日本/👩‍💻/\\"x\\"')
  })
})

it('a log in JSON is the same text to who parses it', () => {
  const path = '/\u009b\u0085\u2028\u202e'
  const [line = ''] = linesOf('json', { path }, 'a request')
  expect(JSON.parse(line)).toMatchObject({ path, msg: 'a request', level: 'info' })
})
