import { Writable } from 'node:stream'
import { type DestinationStream, type Logger, pino } from 'pino'
import pretty from 'pino-pretty'

export interface LoggingOptions {
  readonly format: 'json' | 'text'
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  /** Standard output when it is left out. */
  readonly destination?: DestinationStream
}

/**
 * An error without its other properties: those of a database error quote the values of the row.
 */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) }
  return {
    type: error.name,
    message: error.message,
    ...('code' in error && { code: error.code }),
    stack: error.stack,
    ...(error.cause !== undefined && { cause: describeError(error.cause) }),
  }
}

/**
 * What JSON leaves as it is, and terminals obey or readers of lines take for their end: DEL and C1,
 * line and paragraph separators, and what turns the direction of text.
 */
const HARMFUL = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
const escaped = (text: string): string =>
  text.replace(HARMFUL, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** One JSON object a line, or readable text; written before the call returns. */
export function createLogger({ format, level, destination }: LoggingOptions): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: describeError },
  }
  const output = destination ?? pino.destination({ dest: 1, sync: true })
  const write = (text: string): void => output.write(escaped(text))
  if (format === 'json') return pino(options, { write })
  const { formatters: _, ...numbered } = options
  return pino(
    numbered,
    pretty({
      sync: true,
      singleLine: true,
      translateTime: 'SYS:HH:MM:ss.l',
      destination: new Writable({
        write: (text, _, done) => {
          write(String(text))
          done()
        },
      }),
    }),
  )
}
