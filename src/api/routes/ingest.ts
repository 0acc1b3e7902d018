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
      503: { description: 'Too many uploads at the same time', schema: schemas.failure },
      507: { description: 'There is no room for it', schema: schemas.failure },
    },
    handle: ({ c, query }) =>
      limits.gate.pass(async () => {
        await ensureRoom(c, ports, limits)
        const body = bodyOf(c, limits)
        try {
          const upload = await readUpload(c, query, body, limits)
          const stored = await ingest(ports, { boefjeMetaId: query.boefje_meta_id, ...upload })
          const ids = new Map(stored.map(([name, id]) => [name, JSON.stringify(id)]))
          return json(c, objectText(ids))
        } finally {
          // Lets go of what is left of it. Not waited for: the client may have fallen silent.
          body.return(undefined).catch(() => undefined)
        }
      }),
  })
}

/** Shorter bodies find out while they are written whether there is room. */
const ROOM_BYTES = 1024 * 1024
/** Bodies that say to be so short are as good as read. */
const SHORT_BYTES = 64 * 1024

async function ensureRoom(
  c: AppContext,
  { raw }: IngestPorts,
  { maxBytes }: UploadLimits,
): Promise<void> {
  const length = declaredLength(c.env.incoming)
  if (length <= maxBytes && length > ROOM_BYTES) await raw.ensureRoom(length)
}

function bodyOf(c: AppContext, { maxBytes, idleMs }: UploadLimits): AsyncGenerator<Buffer> {
  const { incoming } = c.env
  const expected = expectedDigests(incoming.headers)
  const limits = { bytes: maxBytes, setBy: 'BYTES_MAX_BODY_BYTES', idleMs }
  const body = streamBody(incoming, limits)
  return expected.length > 0 ? checkedBody(body, expected) : body
}

async function readUpload(
  c: AppContext,
  query: UploadQuery,
  body: AsyncGenerator<Buffer>,
  { maxFiles }: UploadLimits,
): Promise<BodyUpload> {
  const contentType = c.req.header('content-type')
  // Whoever names or tags a body means it as a file, whatever its type.
  const meant = query.name !== undefined || query.tag.length > 0
  if (contentType !== undefined && isMultipart(contentType)) {
    return multipartUpload(body, contentType, query.tag, maxFiles)
  }
  if (!meant && isJson(contentType)) return jsonUpload(body, contentType, maxFiles)
  const length = declaredLength(c.env.incoming)
  return octetsUpload(body, query.name, query.tag, length > 0 && length <= SHORT_BYTES)
}
