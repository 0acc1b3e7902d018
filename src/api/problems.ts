/** What an HTTP request was refused for. */

/** One thing that is wrong with a request. */
export interface Problem {
  /** Where: `body`, `query`, `path` or `header`, then keys and positions. */
  readonly loc: readonly (string | number)[]
  readonly msg: string
  /** `missing`, or the kind of value that was expected. */
  readonly type: string
}

/** Refuses a request with a status and a JSON body. */
export class HttpProblem extends Error {
  readonly status: number
  readonly body: object
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, body: object, headers: Readonly<Record<string, string>> = {}) {
    super(`answered ${status}`)
    this.name = 'HttpProblem'
    this.status = status
    this.body = body
    this.headers = headers
  }
}

/** Refuses a request with a text. */
export const detail = (
  status: number,
  text: string,
  headers?: Readonly<Record<string, string>>,
): HttpProblem => new HttpProblem(status, { detail: text }, headers)

/** For what may be tried again after some seconds. */
export const RETRY_LATER = { 'retry-after': '5' } as const

/** 422 for a value that is well-formed and cannot be taken. */
export const unprocessable = (text: string): HttpProblem => new HttpProblem(422, { value: text })

/** 422 for a request that does not have the form of the schema. */
export function malformed(problems: readonly Problem[]): HttpProblem {
  return new HttpProblem(422, { value: describe(problems), detail: problems })
}

/** The problems in one line of text. */
export function describe(problems: readonly Problem[]): string {
  return problems.map(({ loc, msg }) => `${loc.join('.')}: ${msg}`).join('; ')
}
