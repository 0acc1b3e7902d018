import { z } from 'zod'
import { arrayText, objectText } from '../../domain/wire-text.js'
import type { EvidencePorts } from '../../flows/evidence.js'
import { findContent } from '../../flows/retrieve.js'
import { type Verification, verifyRawFile } from '../../flows/verify.js'
import { uuid } from '../fields.js'
import { json, type Route, route } from '../route.js'
import * as schemas from '../schemas.js'
import { whileConnected } from '../while-connected.js'
import { evidenceRoutes } from './evidence.js'

const rawId = z.object({ raw_id: uuid })
const absent = { description: 'There is no such raw file', schema: schemas.failure }

/** Verification of raw files, and what outsiders verify them with. */
export function verificationRoutes(ports: EvidencePorts): Route[] {
  return [
    ...evidenceRoutes(ports),
    route({
      method: 'get',
      pattern: '/bytes/raw/{raw_id}/verify',
      summary: 'Read a raw file anew, and check its content, its secure hash and its timestamp',
      access: 'bearer',
      path: rawId,
      answers: {
        200: { description: 'What was found, also when it is wrong', schema: schemas.verification },
        404: absent,
      },
      handle: async ({ c, path }) => {
        const file = await findContent(ports, path.raw_id)
        const result = await whileConnected(c, (signal) => verifyRawFile(ports, file, signal))
        return json(c, verificationText(result))
      },
    }),
  ]
}

function verificationText({ rawFileId, verdict, checks }: Verification): string {
  const texts = checks.map(({ name, passed, detail, time, signer, serial }) =>
    JSON.stringify({ name, passed, detail, time, signer, serial }),
  )
  return objectText([
    ['raw_file', JSON.stringify(rawFileId)],
    ['verdict', JSON.stringify(verdict)],
    ['checks', arrayText(texts)],
  ])
}
