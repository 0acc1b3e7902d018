/** How the traffic of the soak asks the service, and what it knows to be stored there. */
import { createHttp } from './soak-http.mjs'

/** @typedef {import('./soak-http.mjs').Request} Request */
/** @typedef {import('./soak-contents.mjs').Content} Content */
/** @typedef {{ id: string, organization: string }} Job */
/** @typedef {{ id: string, job: string, tag: string, organization: string, content: Content }} Known */

export const ORGANIZATIONS = ['acme', 'bäckerei & söhne', 'c', 'dept-4']
/** Jobs and files that requests choose from; then some are forgotten. */
const KEPT = 2000
export const JSON_TYPE = { 'content-type': 'application/json' }

/**
 * @template T
 * @param {readonly T[]} list
 * @returns {T}
 */
export const anyOf = (list) => /** @type {T} */ (list[Math.floor(Math.random() * list.length)])

/** @param {unknown} condition @param {string} text of the failure */
export function check(condition, text) {
  if (!condition) throw new Error(text)
}

/** @typedef {ReturnType<typeof createSession>} Session */

/**
 * @param {object} target
 * @param {string} target.url
 * @param {string} target.token
 * @param {{ username: string, password: string }} target.credentials
 * @param {number} target.connections
 * @param {import('./soak-stats.mjs').Tally} target.tally
 */
export function createSession({ url, token, credentials, connections, tally }) {
  const http = createHttp(url, connections)
  /** @type {Job[]} */
  const jobs = []
  /** @type {Known[]} */
  const files = []
  let acknowledged = 0
  let counter = 0

  /** @template T @param {T[]} list @param {T} value */
  const keep = (list, value) => {
    if (list.length < KEPT) list.push(value)
    else list[Math.floor(Math.random() * KEPT)] = value
  }
  const authorized = (/** @type {Record<string, string>} */ headers = {}) => ({
    authorization: `Bearer ${token}`,
    ...headers,
  })

  /** Sends, times, and checks the status. @param {string} kind @param {number} status @param {Request} request */
  const ask = async (kind, status, request) => {
    const started = performance.now()
    const answer = await http.send({ ...request, headers: authorized(request.headers) })
    if (answer.status !== status) {
      throw new Error(`status ${answer.status}: ${answer.body.subarray(0, 300)}`)
    }
    tally.count(kind, performance.now() - started)
    return answer
  }
  /** @param {string} kind @param {string} path */
  const getJson = async (kind, path) => JSON.parse((await ask(kind, 200, { path })).body.toString())
  /** @param {string} kind @param {string} path @param {unknown} body */
  const postJson = (kind, path, body) => {
    const bytes = [Buffer.from(JSON.stringify(body))]
    return ask(kind, 201, { path, method: 'POST', headers: JSON_TYPE, body: bytes })
  }

  return {
    http,
    credentials,
    connections,
    tally,
    ask,
    getJson,
    postJson,
    authorized,
    /** Raw files that were acknowledged. */
    acknowledged: () => acknowledged,
    anyJob: () => anyOf(jobs),
    anyFile: () => anyOf(files),
    keepJob: (/** @type {Job} */ job) => keep(jobs, job),
    /** @param {Job} job @param {string} id @param {string} tag @param {Content} content */
    keepFile: (job, id, tag, content) => {
      check(/^[0-9a-f-]{36}$/.test(id), `the id is ${id}`)
      acknowledged += 1
      keep(files, { id, job: job.id, tag, organization: job.organization, content })
    },
    /** A MIME type that no other file has. */
    nextTag: () => {
      counter += 1
      return `soak/${counter}`
    },
  }
}
