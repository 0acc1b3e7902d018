import { randomUUID } from 'node:crypto'
import { Hono } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { Log } from '../domain/ports.js'
import { type DispatchOptions, dispatch } from './dispatch.js'
import { toHttpProblem } from './error-table.js'
import { HttpProblem } from './problems.js'
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
    c.set('cut', (error) => {
      log.error({ requestId, err: error }, 'an answer was cut off')
      c.env.outgoing.destroy()
    })
    c.header('x-request-id', requestId)
    c.header('x-content-type-options', 'nosniff')
    const started = performance.now()
    await next()
    const { method, path } = c.req
    const seconds = (performance.now() - started) / 1000
    // An answer that was written to the connection directly has nothing in `c.res`.
    const status = c.env.outgoing.headersSent ? c.env.outgoing.statusCode : c.res.status
    observe({ route: c.get('route'), method, status, seconds })
    const line = { requestId, method, path, status, ms: Math.round(seconds * 1e5) / 100 }
    if (QUIET.has(path)) log.debug(line, 'request')
    else log.info(line, 'request')
  })
  app.onError((error, c) => answerError(error, c, log))
  dispatch(app, routes, options)
  return app
}

function answerError(error: unknown, c: AppContext, log: Log): Response {
  const requestId = c.get('requestId')
  const problem = toHttpProblem(error)
  if (error instanceof HttpProblem) {
    // Meant so: no stack is wanted.
    if (error.status >= 500) log.warn({ requestId, ...error.body }, 'a request was refused')
  } else if (!problem || problem.status >= 500) {
    const message = problem ? 'a request failed' : 'a request failed unexpectedly'
    log.error({ requestId, err: error }, message)
  }
  const { status, body, headers } = problem ?? {
    status: 500,
    body: { detail: `Internal error: quote request id ${requestId} to the operator` },
    headers: {},
  }
  // Any of the statuses of the error table: all of them have a body.
  return c.body(JSON.stringify(body), status as ContentfulStatusCode, {
    'content-type': 'application/json',
    ...headers,
  })
}
