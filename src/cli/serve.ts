import type { Logger } from 'pino'
import { type Service, startService } from '../compose.js'
import { createLogger } from '../logging.js'
import { readSettings, type Settings } from '../settings.js'

/** Runs the service until SIGTERM or SIGINT. @returns the exit code */
export async function serve(): Promise<number> {
  const settings = readSettings()
  const embedded = settings.dbUri === undefined
  const text = process.stdout.isTTY || embedded
  const format = settings.loggingFormat ?? (text ? 'text' : 'json')
  const log = createLogger({ format, level: settings.loggingLevel })

  // From here on, so that a signal during the start does not leave the embedded database behind.
  const stopping = new AbortController()
  const stopRequested = nextSignal().then((signal) => {
    log.info({ signal }, 'stopping')
    stopping.abort()
  })
  let service: Service
  try {
    service = await startService(settings, log, stopping.signal)
  } catch (error) {
    if (stopping.signal.aborted) {
      log.info({}, 'stopped')
      return 0
    }
    // A code marks what an operator can cure; of anything else the stack is wanted.
    const known = error instanceof Error && 'code' in error
    log.error(known ? { reason: error.message } : { err: error }, 'the service could not start')
    return 1
  }
  log.info({ url: service.url }, 'serving')
  if (service.generated) announce(service, settings, format, log)

  await stopRequested
  await service.stop()
  log.info({}, 'stopped')
  return 0
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve)
  })
}

/** Tells a first user how to log in. Into a log that machines collect it puts no password. */
function announce(service: Service, settings: Settings, format: string, log: Logger): void {
  const { url, dataDir, generated } = service
  if (!generated) return
  if (format === 'json') {
    log.info({ file: generated.path }, 'credentials were generated: they are in this file')
    return
  }
  const login = `curl -s ${url}/token -d username=${generated.username} -d password=${generated.password}`
  process.stdout.write(`
  Bytes serves on  ${url}        API: ${url}/docs
  username         ${generated.username}
  password         ${generated.password}
  data             ${dataDir}${settings.queueUri ? '' : '        (no QUEUE_URI: events wait there)'}

  Try it:
    TOKEN=$(${login} | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
    curl -s ${url}/bytes/mime_types -H "Authorization: Bearer $TOKEN"

`)
}
