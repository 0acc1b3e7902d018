/** Values made from the JSON schemas of an OpenAPI document, right and wrong. */
import fc from 'fast-check'
import { HOSTILE, KEYS } from './hostile.js'

export interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly format?: string
  readonly contentEncoding?: string
  readonly maxLength?: number
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
}

/** What values are made with. */
export interface Making {
  readonly schemas: Readonly<Record<string, Schema>>
  /** Whether every value keeps to its schema, and is such as clients send. */
  readonly right: boolean
  /** Values that the service knows, by the name of the parameter or member. */
  readonly known: Readonly<Record<string, readonly unknown[]>>
}

const hostile = fc.constantFrom(...HOSTILE)
const wrong = fc.oneof(
  hostile,
  fc.jsonValue({ maxDepth: 2 }),
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom<unknown>(null, -1, 1e308, [], {}, [[[[]]]], false),
)

/**
 * Values of a schema; some break it, unless all are to be right.
 * @param name of the parameter or member, such as `raw_data.id`
 */
export function valuesOf(schema: Schema, making: Making, name = ''): fc.Arbitrary<unknown> {
  const made = fromSchema(schema, making, name)
  const known = making.known[name] ?? []
  if (known.length === 0) return made
  return fc.oneof(
    { arbitrary: fc.constantFrom(...known), weight: making.right ? 9 : 1 },
    { arbitrary: made, weight: 1 },
  )
}

function fromSchema(schema: Schema, making: Making, name: string): fc.Arbitrary<unknown> {
  /** One in so many breaks the schema. */
  const mostly = (right: fc.Arbitrary<unknown>, oneIn = 9): fc.Arbitrary<unknown> =>
    making.right
      ? right
      : fc.oneof({ arbitrary: right, weight: oneIn - 1 }, { arbitrary: wrong, weight: 1 })
  const { $ref, format, contentEncoding, properties, required = [], items, anyOf } = schema
  if ($ref) return valuesOf(making.schemas[$ref.split('/').at(-1) ?? ''] ?? {}, making, name)
  if (anyOf?.length) return fc.oneof(...anyOf.map((each) => valuesOf(each, making, name)))
  if ('const' in schema) return mostly(fc.constant(schema.const))
  if (schema.enum) return mostly(fc.constantFrom(...schema.enum))
  const type = [schema.type ?? 'null'].flat()[0]
  if (properties) {
    const members = Object.entries(properties).map(([key, inner]) => {
      return [key, valuesOf(inner, making, name === '' ? key : `${name}.${key}`)] as const
    })
    const settings = making.right ? { requiredKeys: [...required] } : {}
    const object = fc.record(Object.fromEntries(members), settings)
    if (making.right) return object
    return mostly(
      fc
        .tuple(object, fc.integer({ min: 0, max: 14 }), fc.constantFrom(...KEYS), wrong)
        .map(([value, dice, key, put]) => spoiled(value, dice, key, put)),
      15,
    )
  }
  if (type === 'object') return making.right ? fc.constant({}) : mostly(attackedObject)
  if (type === 'array') {
    return mostly(fc.array(valuesOf(items ?? {}, making, name), { maxLength: 3 }), 12)
  }
  if (type === 'integer') return mostly(fc.nat({ max: 50 }))
  if (type === 'boolean') return mostly(fc.boolean())
  if (format === 'uuid') return mostly(fc.uuid())
  if (format === 'date-time') {
    return mostly(fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-01T00:10:00.123456+02:00'))
  }
  const plain = fc.string({ maxLength: Math.min(12, schema.maxLength ?? 12) })
  if (contentEncoding) {
    const contents = making.right ? plain : hostile
    return mostly(contents.map((text) => Buffer.from(text).toString('base64')))
  }
  if (type !== 'string') return making.right ? fc.constant(null) : mostly(wrong, 12)
  return making.right ? plain : mostly(fc.oneof(hostile, plain), 12)
}

/** An object with the keys of every object's prototype. */
const attackedObject = fc
  .array(fc.tuple(fc.oneof(fc.constantFrom(...KEYS), hostile), wrong), { maxLength: 4 })
  .map((members) => Object.fromEntries(members.map(([key, value]) => [`${key}`, value])))

function spoiled(value: object, dice: number, key: string, put: unknown): object {
  if (dice > 1) return value
  const entries = Object.entries(value)
  // Not by assignment, which would set the prototype.
  if (dice === 1) return Object.fromEntries([...entries, [key, put]])
  return Object.fromEntries(entries.slice(1))
}
