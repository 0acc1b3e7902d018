/** What callers give, checked: in plain JavaScript it may be anything. */
import { BytesClientError, reasonOf } from './errors.js'

/** What a value must be. */
export interface Rule {
  readonly allows: (value: unknown) => boolean
  /** After `must be`. */
  readonly what: string
  /** Whether it may not be left out. */
  readonly required?: true
}

const isText = (value: unknown): boolean => typeof value === 'string'
// A spread has the holes of an array as well, which `every` passes over.
const isTexts = (value: unknown): boolean => Array.isArray(value) && [...value].every(isText)

export const TEXT: Rule = { allows: isText, what: 'a string' }
export const TEXTS: Rule = { allows: isTexts, what: 'an array of strings' }
export const FLAG: Rule = { allows: (value) => typeof value === 'boolean', what: 'true or false' }
export const CALLBACK: Rule = {
  allows: (value) => typeof value === 'function',
  what: 'a function',
}
export const SIGNAL: Rule = {
  allows: (value) => value instanceof AbortSignal,
  what: 'an AbortSignal',
}
/** Checked where it is used. */
export const ANYTHING: Rule = { allows: () => true, what: 'anything' }

/** The error of a call that is wrong. */
export function invalid(message: string, cause?: unknown): BytesClientError {
  return new BytesClientError('invalid_argument', message, { cause })
}

/** @throws BytesClientError `invalid_argument` when it is no string */
export function textOf(value: string, name: string): string {
  if (TEXT.allows(value)) return value
  throw invalid(`${name} must be ${TEXT.what}`)
}

/**
 * The members that have a rule, each read once. What is undefined is left out.
 * @param given undefined stands for an object without members
 * @throws BytesClientError `invalid_argument`, also when a member cannot be read
 */
export function membersOf<T extends object>(
  given: T | undefined,
  name: string,
  rules: { readonly [K in keyof Required<T>]: Rule },
): T {
  if (given !== undefined && (typeof given !== 'object' || given === null)) {
    throw invalid(`${name} must be an object`)
  }
  const found: Record<string, unknown> = {}
  for (const [member, rule] of Object.entries<Rule>(rules)) {
    const value = given === undefined ? undefined : memberOf(given, member)
    if (value === undefined && rule.required !== true) continue
    if (!allowed(rule, value)) throw invalid(`${member} must be ${rule.what}`)
    found[member] = value
  }
  return found as T
}

function memberOf(given: object, name: string): unknown {
  try {
    return Reflect.get(given, name)
  } catch (error) {
    throw invalid(`${name} cannot be read: ${reasonOf(error)}`, error)
  }
}

/** A proxy may throw whatever is done with it. */
function allowed({ allows }: Rule, value: unknown): boolean {
  try {
    return allows(value)
  } catch {
    return false
  }
}
