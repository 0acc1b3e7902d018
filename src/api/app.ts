import { randomUUID } from 'node:crypto'
import { Hono } from 'hono'
import type { Log } from '../domain/ports.js'
import { requestContext } from '../logging.js'
import { type DispatchOptions, dispatch } from './dispatch.js'
import { toHttpProblem } from './error-table.js'
import type { App, AppContext, Route } from './route.js'

export interface AppOptions extends DispatchOptions {
  readonly routes: readonly Route[]
  readonly log: Log
  /** Called once for each request, with its route's pattern or `other`. */
  readonly observe: (request: {
    route: string
    method: string
    status: number
    seconds: number
  }) => void
}

/** A client may choose the id of its request, if it is short and plain. */
const CLIENT_REQUEST_ID = /^[\w.:-]{1,128}$/
/** Asked every few seconds by machines; their lines would bury the others. */
const QUIET = new Set(['/health', '/health/live', '/metrics'])

/** The HTTP application. */
export function createApp({ routes, log, observe, ...options }: AppOptions): Hono<App> {
  const app = new Hono<App>()

  app.use(async (c, next) => {
    const given = c.req.header('x-request-id')
    const requestId = given && CLIENT_REQUEST_ID.test(given) ? given : randomUUID()
    c.set('requestId', requestId)
    c.set('route', 'other')
    const started = performance.now()
    await requestContext.run({ requestId }, async () => {
      await next()
      c.header('x-request-id', requestId)
      c.header('x-content-type-options', 'nosniff')
      const seconds = (performance.now() - started) / 1000
      const method = c.req.method
      const { status } = c.res
      observe({ route: c.get('route'), method, status, seconds })
      const line = { method, path: c.req.path, status, ms: Math.round(seconds * 1e5) / 100 }
      if (QUIET.has(line.path)) log.debug(line, 'request')
      else log.info(line, 'request')
    })
  })
  app.onError((error, c) => answerError(error, c, log))
  dispatch(app, routes, options)
  return app
}

function answerError(error: unknown, c: AppContext, log: Log): Response {
  const problem = toHttpProblem(error)
  if (!problem || problem.status >= 500) {
    log.error({ err: error }, problem ? 'a request failed' : 'a request failed unexpectedly')
  }
  if (!problem) {
    const text = `Internal error: quote request id ${c.get('requestId')} to the operator`
    return c.json({ detail: text }, 500)
  }
  // Any of the statuses of the error table.
  return new Response(JSON.stringify(problem.body), {
    status: problem.status,
    headers: { 'content-type': 'application/json', ...problem.headers },
  })
}
