import type { Uuid } from '../domain/models.js'
import { type IngestPorts, ingest } from './ingest.js'
import type { IncomingFile } from './resumable.js'

/**
 * Stores one file of a job, which it reads into memory.
 * @returns the raw file's id
 * @throws BytesError as `ingest` does, and what the content throws
 */
export async function ingestFile(
  ports: IngestPorts,
  boefjeMetaId: Uuid,
  { name, tags, content }: IncomingFile,
): Promise<Uuid> {
  const pieces: Uint8Array[] = []
  for await (const piece of content) pieces.push(piece)
  const [stored] = await ingest(ports, boefjeMetaId, [
    { name, tags, content: Buffer.concat(pieces) },
  ])
  if (!stored) throw new Error('the file was not stored')
  return stored[1]
}
