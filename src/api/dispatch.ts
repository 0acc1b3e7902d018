/** Routes onto the Hono app: authentication, then validation, then the handler. */
import type { Hono } from 'hono'
import { z } from 'zod'
import { withoutSlashes } from '../domain/trim-end.js'
import type { Auth } from './auth.js'
import { parseJson, readBody } from './body.js'
import { detail, unprocessable } from './problems.js'
import { type App, type AppContext, clientOf, type Input, type Route } from './route.js'
import { validate } from './validate.js'

export interface DispatchOptions {
  readonly auth: Auth
  /** Longest wait for the next bytes of a body in milliseconds. */
  readonly idleMs: number
}

const NOTHING = z.object({})
/**
 * Longest JSON of metadata. It is in memory several times over; files go through a route of their
 * own, and take none.
 */
const MAX_JSON_BYTES = 4 * 1024 * 1024

/** Adds the routes, and answers for what is none of them: 307, 404, 405 and OPTIONS. */
export function dispatch(app: Hono<App>, routes: readonly Route[], options: DispatchOptions): void {
  for (const route of routes) {
    const pattern = route.pattern.replace(/\{(\w+)\}/g, ':$1')
    // Hono looks up HEAD as GET.
    const method = route.method === 'head' ? 'GET' : route.method.toUpperCase()
    app.on(method, pattern, async (c, next) => {
      if (route.method === 'head' && c.req.method !== 'HEAD') return next()
      c.set('route', route.pattern)
      for (const [name, value] of Object.entries(route.always ?? {})) c.header(name, value)
      await authenticate(route, c, options.auth)
      return route.handle(await parse(route, c, options.idleMs))
    })
  }
  const known = routes.map(({ pattern, method }) => ({
    method,
    matches: new RegExp(`^${pattern.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
  }))
  const methodsOf = (path: string): string[] => {
    const methods = known.filter((r) => r.matches.test(path)).map((r) => r.method.toUpperCase())
    return [...new Set(methods)].flatMap((m) => (m === 'GET' ? ['GET', 'HEAD'] : [m]))
  }
  // Not `notFound`: what that throws would pass by the middleware, and so be neither logged nor counted.
  app.all('*', (c) => elsewhere(c, methodsOf))
}

function elsewhere(c: AppContext, methodsOf: (path: string) => string[]): Response {
  const url = new URL(c.req.url)
  const methods = methodsOf(url.pathname)
  if (methods.length > 0) {
    const allow = [...new Set([...methods, 'OPTIONS'])].join(', ')
    if (c.req.method === 'OPTIONS') return c.body(null, 204, { allow })
    throw detail(405, 'Method Not Allowed', { allow })
  }
  const shorter = withoutSlashes(url.pathname)
  if (shorter !== url.pathname && methodsOf(shorter).length > 0) {
    // Relative: scheme and host are the proxy's business, and not to be taken from the client.
    return c.redirect(`${shorter}${url.search}`, 307)
  }
  throw detail(404, 'Not Found')
}

async function authenticate(route: Route, c: AppContext, auth: Auth): Promise<void> {
  const authorization = c.req.header('authorization')
  if (route.access === 'bearer') await auth.requireBearer(authorization)
  if (route.access === 'bearer or basic') {
    await auth.requireBearerOrBasic(authorization, clientOf(c))
  }
}

type Parsed = Input<z.ZodObject, z.ZodObject, z.ZodType>

async function parse(route: Route, c: AppContext, idleMs: number): Promise<Parsed> {
  const path = validate(route.path ?? NOTHING, c.req.param(), 'path')
  const query = validate(route.query ?? NOTHING, queryValues(route, c), 'query')
  if (!route.body) return { c, path, query, body: undefined, bodyText: '' }
  const limits = { bytes: MAX_JSON_BYTES, setBy: 'metadata', idleMs }
  const raw = await readBody(c.env.incoming, limits)
  const { text, value } = parseJson(raw, c.req.header('content-type'))
  return { c, path, query, body: validate(route.body, value, 'body'), bodyText: text }
}

/**
 * The query as its schema wants it: of a repeated parameter all values for a list, else the last.
 * @throws HttpProblem 422 for what would be stored and is not UTF-8
 */
function queryValues(route: Route, c: AppContext): Record<string, unknown> {
  if (!route.query) return {}
  const { search, searchParams: given } = new URL(c.req.url)
  // What is looked for may be anything, as the recorded protocol has it; what is stored may not.
  if (route.method === 'post' && !isUtf8(search)) throw unprocessable('query: not valid UTF-8')
  const values: Record<string, unknown> = {}
  for (const [name, schema] of Object.entries(route.query.shape)) {
    const all = given.getAll(name)
    if (all.length > 0) values[name] = takesList(schema) ? all : all.at(-1)
  }
  return values
}

/** Whether what is percent-encoded in a query is UTF-8: all other bytes are read as U+FFFD. */
function isUtf8(search: string): boolean {
  try {
    for (const encoded of search.match(/(?:%[0-9a-f]{2})+/gi) ?? []) decodeURIComponent(encoded)
    return true
  } catch {
    return false
  }
}

function takesList(schema: unknown): boolean {
  const optional = schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault
  const inner = optional ? schema.unwrap() : schema
  return (inner instanceof z.ZodPipe ? inner.in : inner) instanceof z.ZodArray
}
