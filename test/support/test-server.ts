/** The HTTP server of the program around an application of a test, on a port of its own. */
import { type RunningServer, type ServerOptions, startServer } from '../../src/api/server.js'
import { silentLog } from './postgres.js'

/** @param options those that differ from what the tests have without saying */
export const startTestServer = (
  app: Parameters<typeof startServer>[0],
  options: Partial<ServerOptions> = {},
): Promise<RunningServer> =>
  startServer(app, {
    host: '127.0.0.1',
    port: 0,
    headersMs: 20_000,
    idleMs: 60_000,
    keepAliveMs: 75_000,
    log: silentLog,
    traffic: { begin: () => undefined, end: () => undefined },
    ...options,
  })
