import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import type { z } from 'zod'
import { networkOf } from './network.js'

/** What the Hono app carries with each request. */
export type App = {
  Bindings: HttpBindings
  Variables: {
    requestId: string
    /** The pattern of the route, or `other`. */
    route: string
    /** Logs why an answer that has begun cannot be finished, and cuts it. */
    cut: (error: unknown) => void
  }
}
export type AppContext = Context<App>

/** A schema for a part of a request; what it makes of the part may differ from what came in. */
type Shape = z.ZodObject

/** An answer, for the OpenAPI document. */
export interface Answer {
  readonly description: string
  readonly schema?: z.ZodType
  /** `application/json` where it is left out. */
  readonly mediaType?: string
  /** Names of headers that tell something of this answer, with what they tell. */
  readonly headers?: Readonly<Record<string, string>>
}

/** What a handler gets: the parsed parts of the request. */
export interface Input<P extends Shape, Q extends Shape, B extends z.ZodType> {
  readonly c: AppContext
  readonly path: z.output<P>
  readonly query: z.output<Q>
  readonly body: z.output<B>
  /** The JSON body as it was sent. */
  readonly bodyText: string
}

/** One resource and method. Requests are validated by it, and OpenAPI is written from it. */
export interface Route {
  /** `get` answers HEAD too; `head` answers nothing else. */
  readonly method: 'get' | 'head' | 'post' | 'patch' | 'delete' | 'options'
  /** With parameters in braces, such as `/bytes/raw/{raw_id}`. */
  readonly pattern: string
  readonly summary: string
  readonly access: 'open' | 'bearer' | 'bearer or basic'
  readonly path?: Shape | undefined
  readonly query?: Shape | undefined
  /** Names of headers that the handler reads by itself, with what they do, for the document. */
  readonly headers?: Readonly<Record<string, string>>
  /** Schema of a JSON body. */
  readonly body?: z.ZodType | undefined
  /** Schemas of bodies that the handler reads by itself, by media type, for the document. */
  readonly reads?: Readonly<Record<string, z.ZodType>> | undefined
  /** Whether a request is right without one of these bodies as well, for the document. */
  readonly mayLackBody?: boolean
  readonly answers: Readonly<Record<number, Answer>>
  /** Headers of every answer, of refusals as well. */
  readonly always?: Readonly<Record<string, string>> | undefined
  readonly handle: (input: Input<Shape, Shape, z.ZodType>) => Promise<Response> | Response
}

interface Typed<P extends Shape, Q extends Shape, B extends z.ZodType>
  extends Omit<Route, 'path' | 'query' | 'body' | 'handle'> {
  readonly path?: P
  readonly query?: Q
  readonly body?: B
  readonly handle: (input: Input<P, Q, B>) => Promise<Response> | Response
}

/** Declares a route whose handler knows the types of its schemas. */
export function route<P extends Shape, Q extends Shape, B extends z.ZodType>(
  spec: Typed<P, Q, B>,
): Route {
  // The parts are parsed by these very schemas before the handler sees them.
  return { ...spec, handle: (input) => spec.handle(input as Input<P, Q, B>) }
}

/** Who the limits of log-ins count for. */
export const clientOf = (c: AppContext): string =>
  networkOf(c.env.incoming.socket.remoteAddress ?? 'unknown')

/** Answers with JSON text. */
export function json(
  c: AppContext,
  text: string,
  status: 200 | 201 = 200,
  headers: Record<string, string> = {},
): Response {
  return c.body(text, status, { 'content-type': 'application/json', ...headers })
}
