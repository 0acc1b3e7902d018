/** What an environment variable is, and how a set of them becomes settings. */
import { readFileSync } from 'node:fs'

/** One environment variable. `parse` throws an Error whose message says what is accepted. */
export interface Variable<T> {
  readonly name: string
  readonly about: string
  /** Text that is used when the variable is not set; undefined leaves the setting undefined. */
  readonly fallback: string | undefined
  /** The value is never shown, and `<name>_FILE` may name a file that holds it. */
  readonly secret?: boolean
  readonly parse: (text: string) => T
}

/** Takes any text. */
export const anyText = (text: string): string => text

/** Decimal digits from `min` to `max`. */
export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new Error(`a whole number from ${min} to ${max}`)
    }
    return value
  }
}

/** One of these names, in any case. */
export function oneOf<T extends string>(...names: readonly T[]): (text: string) => T {
  return (text) => {
    const found = names.find((name) => name.toLowerCase() === text.toLowerCase())
    if (!found) throw new Error(names.join(' or '))
    return found
  }
}

/** A boolean in the usual spellings. */
export function boolean(text: string): boolean {
  if (/^(true|1|yes|on)$/i.test(text)) return true
  if (/^(false|0|no|off)$/i.test(text)) return false
  throw new Error('true or false')
}

/** A key of 32 bytes in standard base64 (RFC 4648, section 4). */
export function base64Key(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64')
  // Node passes over what is not base64: only what comes out the same was right.
  if (bytes.toString('base64') !== text) throw new Error('standard base64, with its padding')
  if (bytes.length !== 32) throw new Error(`32 bytes in base64, and not ${bytes.length}`)
  const key = new Uint8Array(bytes)
  bytes.fill(0)
  return key
}

/** A URI of one of these schemes, such as `https:`. */
export function uri(...schemes: readonly string[]): (text: string) => string {
  return (text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (!url || !schemes.includes(url.protocol)) {
      throw new Error(`a URI that begins with ${schemes.map((s) => `${s}//`).join(' or ')}`)
    }
    return text
  }
}

/** A variable whose value may be shown. */
export function variable<T, F extends string | undefined>(
  name: string,
  about: string,
  fallback: F,
  parse: (text: string) => T,
): Variable<T> & { readonly fallback: F } {
  return { name, about, fallback, parse }
}

/** A variable whose value is never shown, and that a file may hold. */
export function secret<T>(
  name: string,
  about: string,
  parse: (text: string) => T,
): Variable<T> & { readonly fallback: undefined } {
  return { name, about, fallback: undefined, secret: true, parse }
}

/** A set of variables: the keys are the names of the settings. */
export type Variables = Readonly<Record<string, Variable<unknown>>>

/** The settings of a set of variables. One without a fallback may be undefined. */
export type ValuesOf<V extends Variables> = {
  readonly [K in keyof V]: V[K] extends {
    readonly fallback: string
    readonly parse: (text: string) => infer T
  }
    ? T
    : V[K] extends { readonly parse: (text: string) => infer T }
      ? T | undefined
      : never
}

/** Everything that is wrong with the environment, in one message. No secret's value is in it. */
export class SettingsError extends Error {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`The settings cannot be used:\n${problems.map((p) => `  - ${p}`).join('\n')}`)
    this.name = 'SettingsError'
    this.problems = problems
  }
}

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Reads and checks a set of variables. An empty variable counts as one that is not set.
 * @returns the settings that could be read, and what is wrong with the others
 */
export function readVariables<V extends Variables>(
  variables: V,
  env: Environment,
): { values: Partial<ValuesOf<V>>; problems: string[] } {
  const problems: string[] = []
  const values: Record<string, unknown> = {}
  for (const [key, spec] of Object.entries(variables)) {
    const text = textOf(spec, env, problems) ?? spec.fallback
    if (text === undefined) continue
    try {
      values[key] = spec.parse(text)
    } catch (error) {
      const found = spec.secret ? 'its value (not shown)' : JSON.stringify(withoutPassword(text))
      problems.push(
        `${spec.name}: ${found} is not accepted; give ${error instanceof Error ? error.message : ''}`,
      )
    }
  }
  return { values: values as Partial<ValuesOf<V>>, problems }
}

function textOf(spec: Variable<unknown>, env: Environment, problems: string[]): string | undefined {
  const direct = env[spec.name] || undefined
  const file = spec.secret ? env[`${spec.name}_FILE`] || undefined : undefined
  if (file === undefined) return direct
  if (direct !== undefined) {
    problems.push(`${spec.name}: ${spec.name}_FILE is set as well; set one of the two`)
    return undefined
  }
  try {
    const text = readFileSync(file, 'utf8').replace(/\r?\n$/, '')
    if (text !== '') return text
    problems.push(`${spec.name}_FILE: ${JSON.stringify(file)} is empty`)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : 'unknown error'
    problems.push(`${spec.name}_FILE: ${JSON.stringify(file)} cannot be read (${code})`)
  }
  return undefined
}

/** A URL may hold a password although it should not. */
const withoutPassword = (text: string): string => text.replace(/:\/\/[^/@]*@/, '://...@')
