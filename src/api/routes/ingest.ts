import { z } from 'zod'
import { objectText } from '../../domain/wire-text.js'
import { type IngestPorts, ingest } from '../../flows/ingest.js'
import { isJson } from '../body.js'
import { checkedBody, expectedDigests } from '../body-digest.js'
import { declaredLength, streamBody } from '../body-stream.js'
import { uuid } from '../fields.js'
import { type AppContext, json, type Route, route } from '../route.js'
import * as schemas from '../schemas.js'
import { jsonUpload } from '../upload/json.js'
import { isMultipart, multipartUpload } from '../upload/multipart.js'
import { octetsUpload } from '../upload/octets.js'
import type { BodyUpload } from '../upload/received.js'
import type { UploadLimits } from '../upload-limits.js'

type UploadQuery = z.output<typeof schemas.uploadQuery>

/** The resource that stores files. */
export function ingestRoute(ports: IngestPorts, limits: UploadLimits): Route {
  return route({
    method: 'post',
    pattern: '/bytes/raw',
    summary: 'Store the files of a job: all of them, or none',
    access: 'bearer',
    query: schemas.uploadQuery,
    headers: {
      'Content-Digest': 'sha-256 or sha-512 of the body as it is sent (RFC 9530): it is checked',
      'Repr-Digest': 'The same',
    },
    reads: {
      'application/json': schemas.rawUpload,
      'multipart/form-data': schemas.formUpload,
      'application/octet-stream': z.string().meta({ format: 'binary' }),
    },
    answers: {
      200: { description: 'Names of the files to ids', schema: z.record(z.string(), uuid) },
      400: {
        description: 'Two files have the same MIME types, or the digest is another one',
        schema: schemas.failure,
      },
      404: { description: 'There is no such job', schema: schemas.failure },
      408: { description: 'The client fell silent', schema: schemas.failure },
      503: { description: 'Too many uploads at the same time', schema: schemas.failure },
      507: { description: 'There is no room for it', schema: schemas.failure },
    },
    handle: ({ c, query }) =>
      limits.gate.pass(async () => {
        const upload = await readUpload(c, query, ports, limits)
        const stored = await ingest(ports, { boefjeMetaId: query.boefje_meta_id, ...upload })
        const ids = new Map(stored.map(([name, id]) => [name, JSON.stringify(id)]))
        return json(c, objectText(ids))
      }),
  })
}

async function readUpload(
  c: AppContext,
  query: UploadQuery,
  { raw }: IngestPorts,
  { maxBytes, maxFiles, idleMs }: UploadLimits,
): Promise<BodyUpload> {
  const { incoming } = c.env
  const expected = expectedDigests(incoming.headers)
  const streamed = streamBody(incoming, {
    bytes: maxBytes,
    setBy: 'BYTES_MAX_BODY_BYTES',
    idleMs,
  })
  const body = expected.length > 0 ? checkedBody(streamed, expected) : streamed
  const length = declaredLength(incoming)
  if (length <= maxBytes && length > ROOM_BYTES) await raw.ensureRoom(length)

  const contentType = c.req.header('content-type')
  if (contentType === undefined || isJson(contentType))
    return jsonUpload(body, contentType, maxFiles)
  if (isMultipart(contentType)) return multipartUpload(body, contentType, maxFiles)
  return octetsUpload(body, query.name, query.tag, length > 0 && length <= SHORT_BYTES)
}

/** Shorter bodies find out while they are written whether there is room. */
const ROOM_BYTES = 1024 * 1024
/** Bodies that say to be so short are as good as read. */
const SHORT_BYTES = 64 * 1024
