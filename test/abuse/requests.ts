/** Requests made from an OpenAPI document, right and wrong. */
import fc from 'fast-check'
import type { Sent } from '../acceptance/helpers.js'
import { ENCODED, HOSTILE, KEYS } from './hostile.js'

export interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly format?: string
  readonly contentEncoding?: string
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
}

export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required?: boolean
  readonly schema: Schema
}

export interface Operation {
  readonly method: string
  readonly path: string
  readonly parameters: readonly Parameter[]
  readonly bodies: Readonly<Record<string, Schema>>
  /** Statuses that the document tells of. */
  readonly statuses: readonly number[]
}

interface Described {
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Schema }> }
  readonly responses: Record<string, unknown>
}

export interface Document {
  readonly paths: Record<string, Record<string, Described>>
  readonly components: { readonly schemas: Record<string, Schema> }
}

export function operationsOf({ paths }: Document): Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters = [], requestBody, responses }]) => ({
      method: method.toUpperCase(),
      path,
      parameters,
      bodies: Object.fromEntries(
        Object.entries(requestBody?.content ?? {}).map(([type, { schema }]) => [type, schema]),
      ),
      statuses: Object.keys(responses).map(Number),
    })),
  )
}

/** Values that there are, so that some requests are right. */
export interface Known {
  readonly ids: readonly string[]
  readonly texts: readonly string[]
  readonly token: string
}

const hostile = fc.constantFrom(...HOSTILE)
const wrong = fc.oneof(
  hostile,
  fc.jsonValue({ maxDepth: 2 }),
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom<unknown>(null, -1, 1e308, [], {}, [[[[]]]], false),
)

/** Values of a schema; some break it. */
function valuesOf(schema: Schema, document: Document, known: Known): fc.Arbitrary<unknown> {
  const to = (inner: Schema): fc.Arbitrary<unknown> => valuesOf(inner, document, known)
  const { $ref, format, contentEncoding, properties, items, anyOf } = schema
  if ($ref) return to(document.components.schemas[$ref.split('/').at(-1) ?? ''] ?? {})
  if (anyOf?.length) return fc.oneof(...anyOf.map(to))
  if ('const' in schema) return mostly(fc.constant(schema.const))
  if (schema.enum) return mostly(fc.constantFrom(...schema.enum))
  const type = [schema.type ?? 'null'].flat()[0]
  if (properties) {
    const members = Object.entries(properties).map(([name, inner]) => [name, to(inner)] as const)
    const made = fc.record(Object.fromEntries(members))
    return mostly(
      fc
        .tuple(made, fc.integer({ min: 0, max: 14 }), fc.constantFrom(...KEYS), wrong)
        .map(([value, dice, key, put]) => spoiled(value, dice, key, put)),
      15,
    )
  }
  if (type === 'object') return mostly(attackedObject)
  if (type === 'array') return mostly(fc.array(to(items ?? {}), { maxLength: 3 }), 12)
  if (type === 'integer') return mostly(fc.nat({ max: 50 }))
  if (type === 'boolean') return mostly(fc.boolean())
  if (format === 'uuid')
    return mostly(fc.oneof(fc.uuid(), ...known.ids.map((id) => fc.constant(id))))
  if (format === 'date-time') {
    return mostly(fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-01T00:10:00.123456+02:00'))
  }
  if (contentEncoding) return mostly(hostile.map((text) => Buffer.from(text).toString('base64')))
  const texts = fc.oneof(hostile, fc.constantFrom(...known.texts), fc.string({ maxLength: 12 }))
  return mostly(type === 'string' ? texts : wrong, 12)
}

/** One in so many breaks the schema. */
function mostly(right: fc.Arbitrary<unknown>, oneIn = 9): fc.Arbitrary<unknown> {
  return fc.oneof({ arbitrary: right, weight: oneIn - 1 }, { arbitrary: wrong, weight: 1 })
}

/** Text of an object with the keys of every object's prototype. */
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

const json = (value: unknown): string => JSON.stringify(value) ?? 'null'
const uriText = (value: unknown): string =>
  encodeURIComponent((typeof value === 'string' ? value : json(value)).toWellFormed())
const uri = (value: fc.Arbitrary<unknown>): fc.Arbitrary<string> =>
  fc.oneof(
    { arbitrary: value.map(uriText), weight: 6 },
    { arbitrary: fc.constantFrom(...ENCODED), weight: 1 },
  )

/** Header values that Node's client will send. */
const headerText = (text: string): string =>
  Buffer.from(text.replace(/[\r\n\0]/g, ' '))
    .toString('latin1')
    .replace(/[^\t\x20-\x7e\x80-\xff]/g, '')

/** In so many of sixteen. */
const sometimes = <T>(value: fc.Arbitrary<T>, weight: number): fc.Arbitrary<T | undefined> =>
  fc.oneof({ arbitrary: value, weight }, { arbitrary: fc.constant(undefined), weight: 16 - weight })

const present = <T>(values: Readonly<Record<string, T | undefined>>): [string, T][] =>
  Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))

const TUS = ['1.0.0', '0.2.2', '']

/** Requests of an operation, and of what is like it. */
export function requestsOf(
  operation: Operation,
  document: Document,
  known: Known,
): fc.Arbitrary<Sent> {
  const { method, path, parameters, bodies } = operation
  const choose = (place: string, render: (a: fc.Arbitrary<unknown>) => fc.Arbitrary<string>) =>
    fc.record(
      Object.fromEntries(
        parameters
          .filter((parameter) => parameter.in === place)
          .map(({ name, schema, required }) => {
            const single = place === 'query' && schema.items ? schema.items : schema
            const value = render(valuesOf(single, document, known))
            if (place === 'path') return [name, value]
            // A cursor is one that a list gave, or wrong.
            return [name, sometimes(value, required ? 15 : name === 'after' ? 1 : 4)]
          }),
      ),
    )
  const types = Object.entries(bodies)
  const body =
    types.length === 0
      ? fc.constantFrom(
          { type: '', text: '' },
          { type: '', text: '' },
          { type: 'text/a', text: 'x' },
        )
      : fc.constantFrom(...types).chain(([type, schema]) =>
          valuesOf(schema, document, known).map((value) => ({
            type,
            text: bodyText(type, value),
          })),
        )
  return fc
    .record({
      path: choose('path', uri),
      query: choose('query', uri),
      headers: choose('header', (value) => value.map((it) => headerText(String(it)))),
      body,
      length: fc.nat({ max: 40 }),
      tus: fc.constantFrom(TUS[0], TUS[0], TUS[0], TUS[0], ...TUS),
      token: fc.constantFrom(...Array<string>(12).fill(known.token), '', 'x', `${known.token}x`),
    })
    .map(({ path: segments, query, headers, body: { type, text }, length, tus, token }) => ({
      method,
      path: withQuery(
        path.replace(/\{(\w+)\}/g, (_, name: string) => `${Reflect.get(segments, name)}` || '%20'),
        query,
      ),
      headers: {
        ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
        ...(type === '' ? {} : { 'content-type': type }),
        ...(path.startsWith('/bytes/uploads') && {
          'tus-resumable': tus ?? '',
          'upload-offset': '0',
          ...((method === 'POST' || length % 8 === 0) && { 'upload-length': String(length) }),
          'upload-metadata': metadataOf(known),
        }),
        ...Object.fromEntries(present(headers)),
      },
      ...(text === '' ? {} : { body: text }),
    }))
}

const metadataOf = ({ ids }: Known): string =>
  `boefje_meta_id ${Buffer.from(ids[0] ?? '').toString('base64')}`

function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const text = present(query).map(([name, value]) => `${name}=${value}`)
  return text.length > 0 ? `${path}?${text.join('&')}` : path
}

function bodyText(type: string, value: unknown): string {
  if (type.includes('json')) return json(value)
  const members = Object.entries(typeof value === 'object' && value !== null ? value : {})
  const texts = members.map(([name, each]): [string, string] => [
    name,
    typeof each === 'string' ? each : json(each),
  ])
  if (type.includes('urlencoded')) {
    return new URLSearchParams(texts).toString()
  }
  if (!type.includes('multipart')) return typeof value === 'string' ? value : json(value)
  return texts
    .map(
      ([name, text]) => `--x\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${text}\r\n`,
    )
    .join('')
    .concat('--x--\r\n')
}
