import type { z } from 'zod'
import { describe, HttpProblem, malformed, type Problem } from './problems.js'

/** Where in the request the value stands. */
export type Place = 'body' | 'query' | 'path' | 'header'

/**
 * Parses a part of a request.
 *
 * A value of the wrong form is told with the list `detail`. One that has the right form and breaks
 * a limit is told as text alone: that is how the recorded clients expect the refusal of what the
 * recorded server answered with an error of its own.
 * @throws HttpProblem 422
 */
export function validate<T>(schema: z.ZodType<T>, value: unknown, place: Place): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const problems = result.error.issues.map((issue): Problem => toProblem(issue, value, place))
  if (result.error.issues.some((issue) => issue.code !== 'custom')) throw malformed(problems)
  throw new HttpProblem(422, { value: describe(problems) })
}

function toProblem(issue: z.core.$ZodIssue, value: unknown, place: Place): Problem {
  const path = issue.path.map((key) => (typeof key === 'number' ? key : String(key)))
  const loc = [place, ...path]
  if (issue.code === 'invalid_type' && at(value, path) === undefined) {
    return { loc, msg: 'Field required', type: 'missing' }
  }
  const type = issue.code === 'invalid_type' ? String(issue.expected) : issue.code
  return { loc, msg: issue.message, type }
}

function at(value: unknown, path: readonly (string | number)[]): unknown {
  let current = value
  for (const key of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, key)) {
      return undefined
    }
    current = Reflect.get(current, key)
  }
  return current
}
