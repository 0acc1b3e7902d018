/** What must be true of a store after a fault, whatever was answered during it. */
import { type Client, login } from './client.js'
import { type SentUpload, sendUpload } from './load.js'

/** Runs a statement on the database of the service. */
export type Query = (text: string) => Promise<Record<string, unknown>[]>

/** An event that has come out of the queue. */
export interface ArrivedEvent {
  readonly messageId: unknown
  /** JSON. */
  readonly body: string
}

const AT_ONCE = 16
/** Contents that are read of one upload. */
const READ = 3

/**
 * Checks that uploads which were acknowledged are there to the byte, that the others are there whole
 * or not at all, and that they are taken when they are sent again. Uploads must have stopped.
 * @returns the violations
 */
export async function checkUploads(
  url: string,
  query: Query,
  uploads: readonly SentUpload[],
): Promise<string[]> {
  const violations: string[] = []
  const client = await login(url)
  const rows = await query('SELECT id, boefje_meta_id AS job FROM raw_file')
  const byJob = new Map<unknown, Set<unknown>>()
  for (const { id, job } of rows) byJob.set(job, (byJob.get(job) ?? new Set()).add(id))
  await eachOf(uploads, async (upload) => {
    const there = byJob.get(upload.job) ?? new Set()
    const { ids, files } = upload
    if (ids && files.some(({ name }) => !there.has(ids[name]))) {
      violations.push(`of the acknowledged upload ${upload.job} rows are missing`)
    } else if (there.size !== 0 && there.size !== files.length) {
      violations.push(`of the upload ${upload.job} ${there.size} of ${files.length} rows are there`)
    }
    const found = ids ?? (await again(client, upload, there, violations))
    // A few of many: the rows were all seen.
    for (const { name, content } of files.slice(0, READ)) {
      const answer = await client.request(`/bytes/raw/${found[name]}`)
      const text = await answer.text()
      if (answer.status === 200 && text === content) continue
      violations.push(`the file ${found[name]} of ${upload.job} reads ${answer.status} ${text}`)
    }
  })
  return violations
}

/** @returns the ids by name, of the rows that are there when there are some */
async function again(
  client: Client,
  upload: SentUpload,
  there: ReadonlySet<unknown>,
  violations: string[],
): Promise<Record<string, string>> {
  const answer = await sendUpload(client, upload)
  const text = await answer.text()
  if (answer.status !== 200) {
    violations.push(`${upload.job} was sent again and answered ${answer.status}: ${text}`)
    return {}
  }
  const ids = JSON.parse(text) as Record<string, string>
  if (there.size > 0 && Object.values(ids).some((id) => !there.has(id))) {
    violations.push(`${upload.job} was sent again and stored twice`)
  }
  return ids
}

/**
 * Checks that each raw file has its event, in the outbox or among those that have arrived, and no
 * event is of something else. Events must have stopped moving.
 * @param lost events that the broker may have lost, after it had confirmed them
 * @returns the violations, and how many events have arrived more than once
 */
export async function checkEvents(
  query: Query,
  arrived: readonly ArrivedEvent[],
  lost: ReadonlySet<unknown> = new Set(),
): Promise<{ violations: string[]; duplicates: number }> {
  const violations: string[] = []
  const rows = new Set((await query('SELECT id FROM raw_file')).map(({ id }) => id))
  const waiting = (await query('SELECT message_id AS id FROM outbox')).map(({ id }) => id)
  const seen = new Set<unknown>([...waiting, ...arrived.map(({ messageId }) => messageId)])
  for (const id of rows) {
    if (!seen.has(id) && !lost.has(id)) violations.push(`the raw file ${id} has no event`)
  }
  for (const id of seen) if (!rows.has(id)) violations.push(`the event ${id} has no raw file`)
  for (const { messageId, body } of arrived) {
    const { raw_data: rawData } = JSON.parse(body) as { raw_data: { id: string } }
    if (rawData.id === messageId) continue
    violations.push(`the event of ${rawData.id} has the message id ${messageId}`)
  }
  const different = new Set(arrived.map(({ messageId }) => messageId)).size
  return { violations, duplicates: arrived.length - different }
}

async function eachOf<T>(items: readonly T[], action: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  const work = async (): Promise<void> => {
    for (const item of rest) await action(item)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}
