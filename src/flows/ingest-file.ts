import type { Uuid } from '../domain/models.js'
import { type IngestPorts, ingest } from './ingest.js'
import type { IncomingFile } from './resumable.js'

/**
 * Stores one file of a job.
 * @returns the raw file's id
 * @throws BytesError as `ingest` does, and what the content throws
 */
export async function ingestFile(
  ports: IngestPorts,
  boefjeMetaId: Uuid,
  { name, tags, content }: IncomingFile,
): Promise<Uuid> {
  const [stored] = await ingest(ports, {
    boefjeMetaId,
    buffered: false,
    receive: async (hold) => [{ name, fileName: name, tags, content: await hold(content) }],
  })
  if (!stored) throw new Error('the file was not stored')
  return stored[1]
}
