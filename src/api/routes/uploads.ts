import { z } from 'zod'
import { uuid } from '../fields.js'
import { detail } from '../problems.js'
import { type AppContext, type Route, route } from '../route.js'
import { failure } from '../schemas.js'
import { CHECKSUM_ALGORITHMS } from '../tus/checksum.js'
import { createTusHandler, type TusOptions } from '../tus/handler.js'
import { CHUNK_TYPE, TUS_VERSION } from '../tus/preflight.js'

const PATH = '/bytes/uploads'
const ONE = `${PATH}/{upload_id}`
const EXTENSIONS = 'creation,creation-with-upload,checksum,expiration,termination'

const path = z.object({ upload_id: uuid })
const always = { 'tus-resumable': TUS_VERSION }
const absent = { description: 'There is no such upload, or its job has gone', schema: failure }
const expired = { description: 'The upload has expired', schema: failure }
const locked = { description: 'Another request uses the upload: try again', schema: failure }
const old = { description: `No header Tus-Resumable: ${TUS_VERSION}`, schema: failure }
const busy = { description: 'Too many uploads, or a part is away: try again', schema: failure }
const full = { description: 'There is no room for the file', schema: failure }
const common = { 404: absent, 410: expired, 412: old, 423: locked }

const VERSION = { 'Tus-Resumable': `Always ${TUS_VERSION}` }
const CHUNK = {
  'Upload-Checksum': `Checksum of these bytes: ${CHECKSUM_ALGORITHMS.replaceAll(',', ', ')}, a space, the digest in base64`,
  'Content-Digest': 'sha-256 or sha-512 of these bytes (RFC 9530): it is checked',
}
const OFFSET = { 'Upload-Offset': 'Number of bytes that have arrived' }
const RAW_ID = { 'Bytes-Raw-Id': 'The raw file that the upload has become, once it is complete' }
const EXPIRES = { 'Upload-Expires': 'When the upload ends if it is not complete' }
const SENT = {
  ...VERSION,
  'Upload-Offset': 'Where the bytes begin: as HEAD tells',
  ...CHUNK,
}
const PROGRESS = {
  ...OFFSET,
  'Upload-Length': 'Number of bytes of the file',
  'Upload-Metadata': 'As it was given',
  ...EXPIRES,
  ...RAW_ID,
}
const reads = { [CHUNK_TYPE]: z.string().meta({ format: 'binary' }) }

/** Refusals of bytes for an upload. */
const refusedBytes = {
  400: { description: 'A header or a digest is wrong', schema: failure },
  409: { description: 'The upload ends elsewhere', schema: failure },
  413: { description: 'The bytes go beyond the end of the file', schema: failure },
  415: { description: 'The bytes have another content type', schema: failure },
  460: { description: 'The checksum is wrong', schema: failure },
  503: busy,
  507: full,
}

/** Resumable uploads by the tus protocol 1.0 (https://tus.io/protocols/resumable-upload). */
export function uploadRoutes(options: Omit<TusOptions, 'path'>): Route[] {
  const answer = createTusHandler({ ...options, path: PATH })

  const capabilities = (pattern: string, methods: string, parameters?: typeof path): Route =>
    route({
      method: 'options',
      pattern,
      summary: 'What the tus protocol is spoken with',
      access: 'open',
      always,
      ...(parameters && { path: parameters }),
      answers: { 204: { description: 'Version, extensions and limits, in headers' } },
      handle: ({ c }) =>
        c.body(null, 204, {
          allow: `${methods}, OPTIONS`,
          'tus-version': TUS_VERSION,
          'tus-extension': EXTENSIONS,
          'tus-max-size': String(options.limits.maxBytes),
          'tus-checksum-algorithm': CHECKSUM_ALGORITHMS,
        }),
    })

  return [
    capabilities(PATH, 'POST'),
    route({
      method: 'post',
      pattern: PATH,
      summary: 'Create a resumable upload (tus 1.0), with its first bytes or without',
      access: 'bearer',
      always,
      headers: {
        ...VERSION,
        'Upload-Length': 'Number of bytes of the file',
        'Upload-Metadata':
          'Pairs of a key, a space and a value in base64, separated by commas: boefje_meta_id (required), filename, filetype, tags (a JSON array of MIME types)',
        ...CHUNK,
        'Repr-Digest': 'sha-256 or sha-512 of the whole file: checked when the upload is complete',
      },
      reads,
      mayLackBody: true,
      answers: {
        201: {
          description: 'Created',
          headers: { Location: 'Path of the upload', ...OFFSET, ...EXPIRES, ...RAW_ID },
        },
        400: { description: 'A header or a digest is wrong', schema: failure },
        404: { description: 'There is no such job', schema: failure },
        412: old,
        413: { description: 'The file is too long', schema: failure },
        415: { description: 'The bytes have another content type', schema: failure },
        422: { description: 'Upload-Metadata is wrong', schema: failure },
        460: { description: 'The checksum is wrong', schema: failure },
        503: busy,
        507: full,
      },
      handle: ({ c }) => answer(c, 'POST'),
    }),
    capabilities(ONE, 'HEAD, PATCH, DELETE, POST', path),
    route({
      method: 'head',
      pattern: ONE,
      summary: 'How far an upload is; when it is complete, Bytes-Raw-Id is its raw file',
      access: 'bearer',
      always,
      path,
      headers: VERSION,
      answers: {
        200: { description: 'How far it is', headers: PROGRESS },
        ...common,
      },
      handle: (input) => answer(input.c, 'HEAD', input.path.upload_id),
    }),
    route({
      method: 'patch',
      pattern: ONE,
      summary: 'Add bytes to an upload; the last ones store the file',
      access: 'bearer',
      always,
      path,
      headers: SENT,
      reads,
      answers: {
        204: { description: 'Added', headers: { ...OFFSET, ...EXPIRES, ...RAW_ID } },
        ...refusedBytes,
        ...common,
      },
      handle: (input) => answer(input.c, 'PATCH', input.path.upload_id),
    }),
    route({
      method: 'delete',
      pattern: ONE,
      summary: 'End an upload; a raw file that it has become stays',
      access: 'bearer',
      always,
      path,
      headers: VERSION,
      answers: { 204: { description: 'Ended' }, ...common },
      handle: (input) => answer(input.c, 'DELETE', input.path.upload_id),
    }),
    route({
      method: 'post',
      pattern: ONE,
      summary: 'HEAD, PATCH or DELETE by X-HTTP-Method-Override, for clients that cannot send them',
      access: 'bearer',
      always,
      path,
      headers: { 'X-HTTP-Method-Override': 'HEAD, PATCH or DELETE', ...SENT },
      reads,
      mayLackBody: true,
      answers: {
        200: { description: 'As HEAD: how far it is', headers: PROGRESS },
        204: {
          description: 'As PATCH: added; or as DELETE: ended',
          headers: { ...OFFSET, ...EXPIRES, ...RAW_ID },
        },
        405: { description: 'X-HTTP-Method-Override names no such method', schema: failure },
        ...refusedBytes,
        ...common,
      },
      handle: (input) => answer(input.c, overridden(input.c), input.path.upload_id),
    }),
  ]
}

/** @throws HttpProblem 405 */
function overridden(c: AppContext): 'HEAD' | 'PATCH' | 'DELETE' {
  const method = c.req.header('x-http-method-override')
  if (method === 'HEAD' || method === 'PATCH' || method === 'DELETE') return method
  throw detail(405, 'Use HEAD, PATCH or DELETE here, or name one in X-HTTP-Method-Override', {
    allow: 'HEAD, PATCH, DELETE, POST, OPTIONS',
  })
}
