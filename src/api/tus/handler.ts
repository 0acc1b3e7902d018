import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { ERRORS, Server } from '@tus/server'
import { z } from 'zod'
import type { Uuid } from '../../domain/models.js'
import type { Log } from '../../domain/ports.js'
import type { ResumableUpload } from '../../domain/resumable-upload.js'
import type { ResumableUploads } from '../../flows/resumable.js'
import { checkedBody, expectedDigests } from '../body-digest.js'
import { hasBody, streamBody } from '../body-stream.js'
import { toHttpProblem } from '../error-table.js'
import { detail, HttpProblem, RETRY_LATER } from '../problems.js'
import type { AppContext } from '../route.js'
import type { UploadLimits } from '../upload-limits.js'
import { UploadDataStore } from './data-store.js'
import { currentExchange, type Exchange, runExchange } from './exchange.js'
import { createLocker } from './locker.js'
import { CHUNK_TYPE, preflight } from './preflight.js'

export interface TusOptions {
  readonly uploads: ResumableUploads
  readonly limits: Omit<UploadLimits, 'maxFiles'>
  /** Where uploads are created; each is below it. */
  readonly path: string
  readonly log: Log
}

/** Answers POST, HEAD, PATCH and DELETE of the tus protocol 1.0. @param id of the upload; none for POST */
export type TusHandler = (
  c: AppContext,
  method: 'POST' | 'HEAD' | 'PATCH' | 'DELETE',
  id?: Uuid,
) => Promise<Response>

/** How long a request may go on that was asked to leave its upload to another, in milliseconds. */
const DRAIN_MS = 1000
/** What the package reads of a request. All else is ours to judge. */
const PASSED_ON = ['tus-resumable', 'upload-length', 'upload-offset', 'content-length']
const GONE = 'There is no such upload: it was ended or has expired. Create a new one'

/** What the package refuses, in our words. */
const REFUSALS: Readonly<Record<number, string>> = {
  404: GONE,
  409: 'The upload does not end at this Upload-Offset: ask with HEAD',
  410: 'The upload has expired: create a new one',
  413: 'The chunk goes beyond the end of the file',
}
const refusal = z.object({ status_code: z.number(), body: z.string() })
const ANSWERS = { POST: 201, HEAD: 200, PATCH: 204, DELETE: 204 } as const

/** Joins the package's handlers to the store, the error table and the request. */
export function createTusHandler({ uploads, limits, path, log }: TusOptions): TusHandler {
  const discard = (id: Uuid): Promise<unknown> =>
    uploads.remove(id).catch((error: unknown) => {
      log.warn({ err: error, upload: id }, 'an upload waits for its expiry to be removed')
    })

  const finish = async (id: Uuid): Promise<Record<string, string>> => {
    const rawId = await uploads.finish(id, inspected).catch(async (error: unknown) => {
      // Its bytes are not those that were promised, and never will be.
      if (error instanceof HttpProblem) await discard(id)
      throw error
    })
    if (rawId === undefined) throw detail(404, GONE)
    return { 'Bytes-Raw-Id': rawId }
  }
  const server = new Server({
    path,
    datastore: new UploadDataStore(uploads),
    locker: createLocker(uploads.locks),
    lockDrainTimeout: DRAIN_MS,
    // Scheme and host are the proxy's business.
    relativeLocation: true,
    namingFunction: () => randomUUID(),
    onUploadFinish: async (_, { id }) => ({ headers: await finish(id) }),
    onResponseError: (_, error) => {
      currentExchange().failure = error
      // Else the package would make an answer from the error's own fields.
      return { status_code: 500, body: '' }
    },
  })

  /** Of a HEAD: what may be tried again is 423, as clients begin anew after any other failure. */
  const finishLater = (id: Uuid) =>
    finish(id).catch((error: unknown) => {
      if ((toHttpProblem(error)?.status ?? 500) < 500) throw error
      log.error({ err: error, upload: id }, 'a complete upload could not be stored')
      throw detail(423, 'The file cannot be stored now: try again', RETRY_LATER)
    })

  const answer: TusHandler = async (c, method, id) => {
    const { incoming } = c.env
    const exchange: Exchange = preflight(method, incoming.headers, limits.maxBytes)
    const body = takesBody(method, incoming) ? bodyOf(incoming, limits, exchange) : undefined
    const request = requestFor(incoming, method, id ? `${path}/${id}` : path, body)
    const response = await runExchange(exchange, () => server.handleWeb(request)).finally(() => {
      // The package leaves a body open that it does not read to its end: nobody could read the rest.
      body?.return(undefined).catch(() => undefined)
    })
    if (!response.ok) {
      // Its client never learns where it is.
      if (exchange.created) await discard(exchange.created)
      const { status } = response
      throw toError(
        exchange.bodyFailure ??
          exchange.storeFailure ??
          exchange.failure ?? { status_code: status, body: await response.text() },
      )
    }
    const headers = answerHeaders(response)
    const { found } = exchange
    const expires = found && new Date(found.createdAt + uploads.lifetimeMs).toUTCString()
    // The package counts from when a creation came, and not from when the upload was there.
    if (expires && headers['upload-expires']) headers['upload-expires'] = expires
    if (method === 'HEAD' && id && found) {
      if (found.metadata !== '') headers['upload-metadata'] = found.metadata
      const incomplete = found.offset < found.size
      Object.assign(headers, incomplete ? { 'upload-expires': expires } : await finishLater(id))
    }
    return c.body(null, ANSWERS[method], headers)
  }
  return (c, method, id) =>
    takesBody(method, c.env.incoming)
      ? limits.gate.pass(() => answer(c, method, id))
      : answer(c, method, id)
}

/** That of a HEAD means nothing (RFC 9110, section 9.3.2), and no `Request` could have it. */
function takesBody(method: string, { headers }: IncomingMessage): boolean {
  return method !== 'HEAD' && hasBody(headers)
}

/** The request for the package, with nothing in it that the package should not judge. */
function requestFor(
  incoming: IncomingMessage,
  method: string,
  path: string,
  body: AsyncIterable<Uint8Array> | undefined,
): Request {
  const headers = new Headers()
  for (const name of PASSED_ON) {
    const value = incoming.headers[name]
    if (value !== undefined) headers.set(name, String(value))
  }
  if (method === 'PATCH' || body) headers.set('content-type', CHUNK_TYPE)
  const stream = body ? ReadableStream.from(body) : null
  return new Request(`http://localhost${path}`, { method, headers, body: stream, duplex: 'half' })
}

/** The body, with a note of what ends it early. */
async function* bodyOf(
  incoming: IncomingMessage,
  { maxBytes, idleMs }: TusOptions['limits'],
  exchange: Exchange,
): AsyncGenerator<Uint8Array> {
  const limits = { bytes: maxBytes, setBy: 'BYTES_MAX_BODY_BYTES', idleMs }
  try {
    yield* streamBody(incoming, limits)
  } catch (error) {
    exchange.bodyFailure = error
    throw error
  }
}

/** The content of an upload, refused at its end if it is not what was promised. */
function inspected(
  content: AsyncIterable<Uint8Array>,
  { reprDigest }: ResumableUpload,
): AsyncIterable<Uint8Array> {
  if (reprDigest === null) return content
  return checkedBody(content, expectedDigests({ 'repr-digest': reprDigest }))
}

/** Without those of CORS, which are for the proxy to set. */
function answerHeaders({ headers }: Response): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => !name.startsWith('access-control-')))
}

/** @param failure what was thrown in the package: its own refusals are no errors */
function toError(failure: unknown): unknown {
  if (failure === ERRORS.ABORTED) return detail(400, 'The connection ended before the body did')
  const { data } = refusal.safeParse(failure)
  if (!data) return failure
  return detail(data.status_code, REFUSALS[data.status_code] ?? data.body.trim())
}
