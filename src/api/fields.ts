/** Building blocks of the wire schemas. Their issue codes decide how a 422 is told: see `validate.ts`. */
import { z } from 'zod'
import type { CursorCodec } from '../domain/cursor.js'
import { parseInstant } from '../domain/instant.js'
import { parseBoolean, parseLimit } from '../domain/query-values.js'
import { parseUuid } from '../domain/uuid.js'

type Refine = { issues: z.core.$ZodRawIssue[] }

/** The value has another form than the schema: told with the structured `detail`. */
function shape(ctx: Refine, input: unknown, expected: string, message: string): never {
  ctx.issues.push({ code: 'invalid_type', expected: expected as 'string', message, input })
  return z.NEVER
}

/** The value is well-formed and cannot be taken. */
function range(ctx: Refine, input: unknown, message: string): never {
  ctx.issues.push({ code: 'custom', message, input })
  return z.NEVER
}

function check<T>(meta: Record<string, unknown>, parse: (value: unknown, ctx: Refine) => T) {
  return z.unknown().transform(parse).meta(meta)
}

/** A UUID in any spelling; lower case with hyphens comes out. */
export const uuid = check({ type: 'string', format: 'uuid' }, (value, ctx) => {
  return parseUuid(value) ?? shape(ctx, value, 'uuid', 'Input should be a valid UUID')
})

/** SHA-512 of a content in hexadecimal, in any case and with `sha512:` or without; with it comes out. */
export const contentDigest = check(
  { type: 'string', pattern: '^(sha512:)?[0-9a-fA-F]{128}$' },
  (value, ctx) => {
    const digits = typeof value === 'string' && /^(?:sha512:)?([0-9a-f]{128})$/i.exec(value)?.[1]
    if (digits) return `sha512:${digits.toLowerCase()}`
    const form = 'Input should be "sha512:" and 128 hexadecimal digits, or the digits alone'
    return shape(ctx, value, 'digest', form)
  },
)

/** A time with a zone, as ISO 8601 text or a unix number; UTC with microseconds comes out. */
export const instant = check({ type: 'string', format: 'date-time' }, (value, ctx) => {
  const parsed = parseInstant(value)
  if (parsed.ok) return parsed.instant
  return parsed.kind === 'shape'
    ? shape(ctx, value, 'datetime', `Input ${parsed.reason}`)
    : range(ctx, value, `Input ${parsed.reason}`)
})

/** Postgres stores none. */
const NUL = 'The text holds a NUL character: remove it'

/** Text for a column of so many characters. */
export function column(max: number) {
  return z
    .string()
    .superRefine((value, ctx) => {
      if (value.includes('\0')) {
        ctx.addIssue({ code: 'custom', message: NUL })
      } else if (value.length > max && [...value].length > max) {
        ctx.addIssue({ code: 'custom', message: `The text is longer than ${max} characters` })
      }
    })
    .meta({ maxLength: max })
}

/** Name of an organization: free text, but never one that reads as a path. */
export function organization(max: number) {
  return column(max).superRefine((value, ctx) => {
    if (value.includes('/') || value === '.' || value === '..') {
      ctx.addIssue({
        code: 'custom',
        message: 'An organization must not contain "/", and not be "." or ".."',
      })
    }
  })
}

/** Text of any length. */
export const plainText = z.string().superRefine((value, ctx) => {
  if (value.includes('\0')) {
    ctx.addIssue({ code: 'custom', message: NUL })
  }
})

/** Text to look for in the database. */
export const search = plainText

/** Most that is told to be wrong with one value: to tell it takes far more memory than the value. */
const MOST_ISSUES = 20

/**
 * A list, of which no more is looked at once so much is wrong with it.
 * @param max items, with what is said of more of them
 */
export function list<T extends z.ZodType>(item: T, max?: { items: number; message: string }) {
  const { $schema: _, ...items } = z.toJSONSchema(item, { io: 'input', unrepresentable: 'any' })
  return z
    .array(z.unknown())
    .transform((values, ctx): z.output<T>[] => {
      if (max && values.length > max.items) return range(ctx, values, max.message)
      const parsed: z.output<T>[] = []
      for (const [i, value] of values.entries()) {
        const result = item.safeParse(value)
        if (result.success) parsed.push(result.data)
        for (const issue of result.error?.issues ?? []) {
          const path = [i, ...issue.path]
          ctx.issues.push({ ...issue, path, input: value } as z.core.$ZodRawIssue)
        }
        if (ctx.issues.length >= MOST_ISSUES) break
      }
      return parsed
    })
    .meta({ items })
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Any JSON object. Its text is kept apart, so that numbers lose no digits. */
export const jsonObject = check({ type: 'object', additionalProperties: true }, (value, ctx) => {
  return isObject(value) || shape(ctx, value, 'object', 'Input should be a valid object')
})

/** A JSON object with string values, or null. */
export const stringMap = check(
  { type: ['object', 'null'], additionalProperties: { type: 'string' } },
  (value, ctx) => {
    if (value === null || value === undefined) return null
    if (!isObject(value)) return shape(ctx, value, 'object', 'Input should be a valid object')
    for (const [key, entry] of Object.entries(value)) {
      if (ctx.issues.length >= MOST_ISSUES) break
      if (typeof entry !== 'string') {
        ctx.issues.push({
          code: 'invalid_type',
          expected: 'string',
          path: [key],
          message: 'Input should be a valid string',
          input: entry,
        })
      }
    }
    return true
  },
).optional()

/** Number of rows, in a query: plain decimal digits. */
export function rows(fallback: number) {
  return z
    .string()
    .transform((value, ctx) => {
      const parsed = parseLimit(value)
      // More rows than a safe integer counts is all of them.
      if (parsed.ok) return Number(parsed.value < MAX_ROWS ? parsed.value : MAX_ROWS)
      return parsed.kind === 'shape'
        ? shape(ctx, value, 'integer', `Input ${parsed.reason}`)
        : range(ctx, value, `Input ${parsed.reason}`)
    })
    .default(fallback)
    .meta({ type: 'integer', minimum: 0, default: fallback })
}
const MAX_ROWS = BigInt(Number.MAX_SAFE_INTEGER)

/** Where in a list to go on: a token that the list gave. */
export function after<Key>(cursor: CursorCodec<Key>) {
  return z
    .string()
    .transform((value, ctx) => cursor.decode(value) ?? range(ctx, value, NO_CURSOR))
    .optional()
    .meta({ type: 'string', description: 'Begin after this cursor, which is in the Link header' })
}
const NO_CURSOR =
  'Not a cursor of this list: take the target of the Link header of the page before, unchanged'

/** A boolean in a query, in the usual spellings. */
export const flag = z
  .string()
  .transform((value, ctx) => {
    return parseBoolean(value) ?? shape(ctx, value, 'boolean', 'Input should be a valid boolean')
  })
  .meta({ type: 'boolean' })

/** A parameter that may be repeated. */
export function many<T extends z.ZodType>(item: T) {
  return z.array(item).default([])
}
