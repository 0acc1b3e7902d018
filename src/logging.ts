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

/** One JSON object a line, or readable text; written before the call returns. */
export function createLogger({ format, level, destination }: LoggingOptions): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: describeError },
  }
  if (format === 'json') return destination ? pino(options, destination) : pino(options)
  const { formatters: _, ...numbered } = options
  return pino(
    numbered,
    pretty({
      sync: true,
      singleLine: true,
      translateTime: 'SYS:HH:MM:ss.l',
      ...(destination && { destination }),
    }),
  )
}
