import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Logger } from 'pino'
import { type Service, startService } from '../compose.js'
import { SettingsError } from '../environment.js'
import { createLogger } from '../logging.js'
import { readSettings, type Settings } from '../settings.js'
import type { Command } from './command.js'

/** What closing the loops and pools may take after the requests in flight, in milliseconds. */
const CLOSING_MS = 20_000

/** `bytes serve`. */
export const command: Command = {
  usage: `Usage: bytes serve

Starts the service, until SIGTERM or SIGINT.
`,
  async run(args) {
    parseArgs({ args, options: {} })
    return serve()
  },
}

/** Runs the service until SIGTERM or SIGINT. @returns the exit code */
async function serve(): Promise<number> {
  const settings = readSettings()
  const text = process.stdout.isTTY || settings.dbUri === undefined
  const format = settings.loggingFormat ?? (text ? 'text' : 'json')
  const log = createLogger({ format, level: settings.loggingLevel })
  process.once('uncaughtException', (error) => {
    log.error({ err: error }, 'an error that nothing handles: ending')
    process.exit(1)
  })

  // From here on, so that a signal during the start does not leave the embedded database behind.
  const stopping = new AbortController()
  const stopRequested = nextSignal().then((signal) => {
    log.info({ signal }, 'stopping')
    stopping.abort()
    return 0
  })
  let service: Service
  try {
    service = await startService(settings, log, stopping.signal)
  } catch (error) {
    if (stopping.signal.aborted) {
      log.info({}, 'stopped')
      return 0
    }
    // Of files that settings name.
    if (error instanceof SettingsError) throw error
    log.error(whyNot(error), 'the service could not start')
    return 1
  }
  log.info({ url: service.url }, 'serving')
  if (settings.dbUri === undefined) announce(service, settings, format, log)

  const failed = service.failed.then(() => {
    log.error({}, 'the embedded database has ended: stopping')
    return 1
  })
  const code = await Promise.race([stopRequested, failed])
  await stopWithin(service, settings.shutdownTimeoutSeconds * 1000 + CLOSING_MS, log)
  return code
}

/** What an operator can cure is told in a line; of anything else the stack is wanted. */
function whyNot(error: unknown): object {
  if (!(error instanceof Error)) return { err: error }
  if (error.constructor !== Error && !('code' in error)) return { err: error }
  const cause = error.cause instanceof Error ? error.cause.message : undefined
  const inUse = 'code' in error && error.code === 'EADDRINUSE'
  const hint = inUse ? 'set BYTES_PORT or BYTES_HOST, or stop what listens there' : undefined
  return { reason: error.message, ...(cause && { cause }), ...(hint && { hint }) }
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve)
  })
}

/** Nothing that is committed can be lost by ending at once, so a part that hangs gets no longer. */
async function stopWithin(service: Service, timeoutMs: number, log: Logger): Promise<void> {
  const given = new AbortController()
  const late = sleep(timeoutMs, 'late', { signal: given.signal }).catch(() => 'in time')
  const how = await Promise.race([service.stop().then(() => 'in time'), late])
  given.abort()
  if (how === 'in time') {
    log.info({}, 'stopped')
    return
  }
  log.error({ timeoutMs }, 'parts of the service do not close: ending without them')
  process.exit(1)
}

/** Tells a first user how to log in. Into a log that machines collect it puts no password. */
function announce(service: Service, settings: Settings, format: string, log: Logger): void {
  const { url, username, generated } = service
  if (format === 'json') {
    if (generated) log.info({ file: generated.path }, 'credentials were generated: see this file')
    return
  }
  const password = generated?.password ?? '$BYTES_PASSWORD'
  const login = `curl -s ${url}/token -d username=${username} -d password=${password}`
  process.stdout.write(`
  Bytes serves on  ${url}        API: ${url}/docs
  username         ${username}
  password         ${generated?.password ?? 'as set in BYTES_PASSWORD'}
  data             ${settings.dataDir}${settings.queueUri ? '' : '        (no QUEUE_URI: events wait there)'}

  Try it:
    TOKEN=$(${login} | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
    curl -s ${url}/bytes/mime_types -H "Authorization: Bearer $TOKEN"

`)
}
