import { create as contentDisposition } from 'content-disposition'
import { z } from 'zod'
import { type EvidencePorts, openEvidence } from '../../flows/evidence.js'
import { findRecord, findRecordOf, findTimestamp } from '../../flows/proof.js'
import { findRawFile } from '../../flows/retrieve.js'
import { uuid } from '../fields.js'
import { type Answer, type AppContext, type Route, route } from '../route.js'
import * as schemas from '../schemas.js'
import { transfer } from '../transfer.js'

const rawId = z.object({ raw_id: uuid })
/** RFC 7193, of a TimeStampToken: `id-smime-ct-TSTInfo` is its content. */
const TOKEN_TYPE = 'application/cms'
const BINARY = 'application/octet-stream'

const absent = (description: string): Answer => ({ description, schema: schemas.failure })

/** Timestamps and evidence records as files, and bundles of all that proves something. */
export function evidenceRoutes(ports: EvidencePorts): Route[] {
  return [
    route({
      method: 'get',
      pattern: '/bytes/raw/{raw_id}/timestamp_token',
      summary: 'The timestamp of a raw file: a TimeStampToken (RFC 3161) in DER',
      access: 'bearer',
      path: rawId,
      answers: {
        200: { description: 'The timestamp', mediaType: TOKEN_TYPE },
        404: absent('There is no such raw file, or it has no timestamp (yet): `detail` says which'),
      },
      handle: async ({ c, path }) => {
        const { token } = await findTimestamp(ports, await findRawFile(ports, path.raw_id))
        return answerBytes(c, token, TOKEN_TYPE, `timestamp-${path.raw_id}.der`)
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/raw/{raw_id}/evidence_record',
      summary: 'The evidence record (RFC 4998) in DER of a raw file that shares its timestamp',
      access: 'bearer',
      path: rawId,
      answers: {
        200: { description: 'The evidence record', mediaType: BINARY },
        404: absent('There is no such raw file, or it has no evidence record: `detail` says which'),
      },
      handle: async ({ c, path }) => {
        const record = await findRecordOf(ports, await findRawFile(ports, path.raw_id))
        return answerBytes(c, record, BINARY, `evidence-record-${path.raw_id}.der`)
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/evidence_records/{record_id}',
      summary: 'An evidence record (RFC 4998) in DER, as a retrieval link names it',
      access: 'bearer',
      path: z.object({ record_id: uuid }),
      answers: {
        200: { description: 'The evidence record', mediaType: BINARY },
        404: absent('There is no such evidence record'),
      },
      handle: async ({ c, path }) => {
        const record = await findRecord(ports.records, path.record_id)
        return answerBytes(c, record, BINARY, `evidence-record-${path.record_id}.der`)
      },
    }),
    route({
      method: 'get',
      pattern: '/bytes/raw/{raw_id}/evidence',
      summary: 'A zip archive of a raw file with all that proves its time, and how to check it',
      access: 'bearer',
      path: rawId,
      answers: {
        200: {
          description: 'The archive; `VERIFY.md` in it says what it proves, and by which commands',
          mediaType: 'application/zip',
          headers: { 'Content-Length': 'Bytes of the archive' },
        },
        404: absent('There is no such raw file'),
        500: absent('The content is missing or damaged'),
      },
      handle: async ({ c, path }) => {
        const { size, pieces } = await openEvidence(ports, await findRawFile(ports, path.raw_id))
        const headers = headersOf('application/zip', size, `evidence-${path.raw_id}.zip`)
        if (c.req.method === 'HEAD') return c.body(null, 200, headers)
        return transfer(c, pieces, 200, headers)
      },
    }),
  ]
}

function headersOf(type: string, size: number, fileName: string): Record<string, string> {
  return {
    'content-type': type,
    'content-length': String(size),
    'content-disposition': contentDisposition(fileName),
  }
}

function answerBytes(c: AppContext, bytes: Uint8Array, type: string, fileName: string): Response {
  return c.body(new Uint8Array(bytes), 200, headersOf(type, bytes.length, fileName))
}
