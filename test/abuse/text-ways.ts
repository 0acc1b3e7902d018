/** The ways in which texts come in that are stored, byte by byte. */
import { type Answer, base64, query, type Sent, send } from '../acceptance/helpers.js'
import { exampleJob } from '../support/client.js'
import type { Victim } from './victim.js'

/** Stands for the bytes in a text. */
export const HOLE = '@@'

/** The text as bytes, with these where the hole is. */
export const filled = (text: string, hex: string): Buffer => {
  const parts = text.split(HOLE).map((part) => Buffer.from(part))
  const bytes = Buffer.from(hex, 'hex')
  return Buffer.concat(parts.flatMap((part, i) => (i === 0 ? [part] : [bytes, part])))
}
export const percent = (hex: string): string => hex.replace(/../g, '%$&')

/** A request that stores a text, and where that text must be found then. */
export interface Way {
  readonly sent: (hex: string, job: string) => Sent
  readonly shown: (answer: Answer, job: string) => Promise<string>
}

export type Ways = Readonly<Record<string, Way>>

export const pathOf = (job: string, more = ''): string => `/bytes/raw?boefje_meta_id=${job}${more}`

const JSON_TYPE = { 'content-type': 'application/json' }
/** Longer than what is parsed in one piece. */
const LONG = base64(Buffer.alloc(300 * 1024, 'c'))

/** For the texts of jobs, and for the names and tags of files. */
export function waysOf(victim: Victim): { jobs: Ways; files: Ways } {
  const authorized = (headers: Record<string, string> = {}): Record<string, string> => ({
    authorization: `Bearer ${victim.client.token}`,
    ...headers,
  })
  /** Of the raw file that the answer names: its name and its MIME types. */
  async function rawShown({ text, headers }: Answer, job: string): Promise<string> {
    const [row] = await query<{ id: string; mime_types: string[] }>(
      victim.store.databaseUri,
      'SELECT id, mime_types FROM raw_file WHERE boefje_meta_id = $1',
      [job],
    )
    if (row === undefined) return `nothing was stored: ${text}`
    const content = await send(victim.url, { path: `/bytes/raw/${row.id}`, headers: authorized() })
    const name = decodeURIComponent(String(content.headers['content-disposition']))
    return `${text} ${headers.location} ${name} ${row.mime_types}`
  }

  const jobWay = (fields: object): Way => ({
    sent: (hex, id) => ({
      method: 'POST',
      path: '/bytes/boefje_meta',
      headers: authorized(JSON_TYPE),
      body: filled(JSON.stringify(exampleJob({ id, ...fields })), hex),
    }),
    shown: async (_, id) =>
      (await send(victim.url, { path: `/bytes/boefje_meta/${id}`, headers: authorized() })).text,
  })

  const jsonWay = (file: object, more: object = {}): Way => ({
    sent: (hex, job) => ({
      method: 'POST',
      path: pathOf(job),
      headers: authorized(JSON_TYPE),
      body: filled(
        JSON.stringify({ files: [{ name: 'n', content: 'Yw==', ...file }], ...more }),
        hex,
      ),
    }),
    shown: rawShown,
  })

  const formWay = (parts: string): Way => ({
    sent: (hex, job) => ({
      method: 'POST',
      path: pathOf(job),
      headers: authorized({ 'content-type': 'multipart/form-data; boundary=x' }),
      body: filled(`--x\r\nContent-Disposition: form-data; ${parts}\r\n--x--\r\n`, hex),
    }),
    shown: rawShown,
  })

  /** @param key of the metadata; without a hole in the value that is the bytes */
  const tusWay = (key: string, value = HOLE): Way => ({
    sent: (hex, job) => ({
      method: 'POST',
      path: '/bytes/uploads',
      headers: authorized({
        'tus-resumable': '1.0.0',
        'content-type': 'application/offset+octet-stream',
        'upload-length': '1',
        'upload-metadata': `boefje_meta_id ${base64(job)},${key} ${base64(filled(value, hex))}`,
      }),
      body: 'c',
    }),
    shown: rawShown,
  })

  const queryWay = (more: (hex: string) => string): Way => ({
    sent: (hex, job) => ({
      method: 'POST',
      path: pathOf(job, more(percent(hex))),
      headers: authorized({ 'content-type': 'application/octet-stream' }),
      body: 'c',
    }),
    shown: rawShown,
  })

  const jobs: Ways = {
    'id of a boefje': jobWay({ boefje: { id: HOLE } }),
    'version of a boefje': jobWay({ boefje: { id: 'b', version: HOLE } }),
    'object of a job': jobWay({ input_ooi: HOLE }),
    'organization of a job': jobWay({ organization: HOLE }),
    'hash of a runnable': jobWay({ runnable_hash: HOLE }),
    'key of arguments': jobWay({ arguments: { [HOLE]: 1 } }),
    'value of arguments': jobWay({ arguments: { a: [HOLE] } }),
    'environment of a job': jobWay({ environment: { A: HOLE } }),
    'field that is ignored': jobWay({ boefje: { id: 'é' }, ignored: HOLE }),
  }

  const files: Ways = {
    'name in JSON': jsonWay({ name: HOLE }),
    'tag in JSON': jsonWay({ tags: [HOLE] }),
    'name in long JSON': jsonWay({ name: HOLE, content: LONG }),
    'tag in long JSON': jsonWay({ tags: [HOLE], content: LONG }),
    'name of a field': formWay(`name="${HOLE}"; filename="a"\r\n\r\nc`),
    'name of a file in a form': formWay(`name="a"; filename="${HOLE}"\r\n\r\nc`),
    'type of a file in a form': formWay(
      `name="a"; filename="a"\r\nContent-Type: a/${HOLE}\r\n\r\nc`,
    ),
    'tag in a form': formWay(
      `name="tag"\r\n\r\n${HOLE}\r\n--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nc`,
    ),
    'name of a resumable upload': tusWay('filename'),
    'type of a resumable upload': tusWay('filetype'),
    'tags of a resumable upload': tusWay('tags', `["${HOLE}"]`),
    'name in a query': queryWay((text) => `&name=${text}`),
    'tag in a query': queryWay((text) => `&tag=a&tag=${text}`),
  }
  return { jobs, files }
}
