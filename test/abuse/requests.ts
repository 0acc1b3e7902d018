/** Requests made from an OpenAPI document, right and wrong. */
import fc from 'fast-check'
import type { Sent } from '../acceptance/helpers.js'
import { ENCODED } from './hostile.js'
import { type Making, type Schema, valuesOf } from './schema-values.js'

export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required?: boolean
  readonly schema: Schema
}

export interface Operation {
  /** Method and path. */
  readonly name: string
  readonly method: string
  readonly path: string
  readonly parameters: readonly Parameter[]
  readonly bodies: Readonly<Record<string, Schema>>
  readonly mayLackBody: boolean
  /** Statuses that the document tells of. */
  readonly statuses: readonly number[]
}

interface Described {
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: {
    readonly required: boolean
    readonly content: Record<string, { readonly schema: Schema }>
  }
  readonly responses: Record<string, unknown>
}

export interface Document {
  readonly paths: Record<string, Record<string, Described>>
  readonly components: { readonly schemas: Record<string, Schema> }
}

export function operationsOf({ paths }: Document): Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters = [], requestBody, responses }]) => ({
      name: `${method.toUpperCase()} ${path}`,
      method: method.toUpperCase(),
      path,
      parameters,
      bodies: Object.fromEntries(
        Object.entries(requestBody?.content ?? {}).map(([type, { schema }]) => [type, schema]),
      ),
      mayLackBody: requestBody?.required !== true,
      statuses: Object.keys(responses).map(Number),
    })),
  )
}

/** What there is, so that some requests are right. */
export interface Known extends Pick<Making, 'known'> {
  readonly token: string
}

/** A request, and whether it is one of the document. */
export interface Tried {
  readonly sent: Sent
  readonly right: boolean
}

const json = (value: unknown): string => JSON.stringify(value) ?? 'null'
/** Not by `String`, which fails for an object without a prototype. */
const textOf = (value: unknown): string => (typeof value === 'string' ? value : json(value))
const uriText = (value: unknown): string => encodeURIComponent(textOf(value).toWellFormed())

/** Header values that Node's client will send. */
const headerText = (value: unknown): string =>
  Buffer.from(textOf(value).replace(/[\r\n\0]/g, ' '))
    .toString('latin1')
    .replace(/[^\t\x20-\x7e\x80-\xff]/g, '')

const present = (values: Readonly<Record<string, string | undefined>>): [string, string][] =>
  Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))

/** Without them hardly a request of the tus protocol would come further than its head. */
const OF_TUS = ['Tus-Resumable', 'Upload-Length', 'Upload-Metadata', 'Upload-Offset']
const OFTEN = [...OF_TUS, 'X-HTTP-Method-Override']
/** Where the service takes the name of a file, its content may be the body itself. */
const NAMES = ['name', 'tag']

/** In so many of sixteen a parameter is there. */
function weightOf({ name, required }: Parameter, right: boolean): number {
  if (right) return required || OFTEN.includes(name) || NAMES.includes(name) ? 16 : 2
  if (required || OFTEN.includes(name)) return 15
  // A cursor is one that a list gave, or wrong.
  return name === 'after' ? 1 : 4
}

/** Requests of an operation, and of what is like it: about half of them are right. */
export function requestsOf(
  operation: Operation,
  document: Document,
  known: Known,
): fc.Arbitrary<Tried> {
  const { schemas } = document.components
  const of = (right: boolean): fc.Arbitrary<Tried> =>
    requests(operation, { schemas, right, known: known.known }, known.token).map((sent) => ({
      sent,
      right,
    }))
  return fc.oneof(of(true), of(false))
}

function requests(operation: Operation, making: Making, token: string): fc.Arbitrary<Sent> {
  const { method, path, parameters } = operation
  const { right } = making
  const uri = (value: fc.Arbitrary<unknown>): fc.Arbitrary<string> =>
    fc.oneof(
      { arbitrary: value.map(uriText), weight: 6 },
      { arbitrary: fc.constantFrom(...ENCODED), weight: right ? 0 : 1 },
    )
  const choose = (place: string, render: (a: fc.Arbitrary<unknown>) => fc.Arbitrary<string>) =>
    fc.record(
      Object.fromEntries(
        parameters
          .filter((parameter) => parameter.in === place)
          // None of them is known.
          .filter(({ name }) => !right || name !== 'after')
          .map((parameter) => {
            const { name, schema } = parameter
            const single = place === 'query' && schema.items ? schema.items : schema
            const value = render(valuesOf(single, making, name))
            return [name, place === 'path' ? value : sometimes(value, weightOf(parameter, right))]
          }),
      ),
    )
  return fc
    .record({
      path: choose('path', uri),
      query: choose('query', uri),
      headers: choose('header', (value) => value.map(headerText)),
      body: bodyOf(operation, making),
      // Of the creation of an upload, and not of a chunk.
      length: sometimes(fc.constant('10'), right ? 0 : 1),
      token: right
        ? fc.constant(token)
        : fc.constantFrom(...Array<string>(12).fill(token), '', 'x', `${token}x`),
    })
    .map(({ path: segments, query, headers, body: { type, text }, length, token: given }) => ({
      method,
      path: withQuery(
        path.replace(/\{(\w+)\}/g, (_, name: string) => `${Reflect.get(segments, name)}` || '%20'),
        query,
      ),
      headers: {
        ...(given === '' ? {} : { authorization: `Bearer ${given}` }),
        ...(type === '' ? {} : { 'content-type': type }),
        ...(length && path.startsWith('/bytes/uploads/') && { 'upload-length': length }),
        ...Object.fromEntries(present(headers)),
      },
      ...(text === '' ? {} : { body: text }),
    }))
}

/** In so many of sixteen. */
const sometimes = <T>(value: fc.Arbitrary<T>, weight: number): fc.Arbitrary<T | undefined> =>
  fc.oneof({ arbitrary: value, weight }, { arbitrary: fc.constant(undefined), weight: 16 - weight })

function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const text = present(query).map(([name, value]) => `${name}=${value}`)
  return text.length > 0 ? `${path}?${text.join('&')}` : path
}

interface Body {
  readonly type: string
  readonly text: string
}

const NO_BODY: Body = { type: '', text: '' }

function bodyOf({ bodies, mayLackBody }: Operation, making: Making): fc.Arbitrary<Body> {
  const types = Object.entries(bodies)
  if (types.length === 0) {
    return fc.constantFrom(
      NO_BODY,
      NO_BODY,
      ...(making.right ? [] : [{ type: 'text/a', text: 'x' }]),
    )
  }
  const made = fc.constantFrom(...types).chain(([type, schema]) =>
    valuesOf(schema, making).map((value) => ({
      type: type.includes('multipart') ? `${type}; boundary=x` : type,
      text: bodyText(type, value),
    })),
  )
  return mayLackBody ? fc.oneof(made, fc.constant(NO_BODY)) : made
}

function bodyText(type: string, value: unknown): string {
  if (type.includes('json')) return json(value)
  const members = Object.entries(typeof value === 'object' && value !== null ? value : {})
  const texts = members.flatMap(([name, each]) =>
    [each].flat().map((one): [string, string] => [name, textOf(one)]),
  )
  if (type.includes('urlencoded')) return new URLSearchParams(texts).toString()
  if (!type.includes('multipart')) return textOf(value)
  return texts
    .map(([name, text]) => `--x\r\n${dispositionOf(name)}\r\n\r\n${text}\r\n`)
    .join('')
    .concat('--x--\r\n')
}

const dispositionOf = (name: string): string =>
  `Content-Disposition: form-data; name="${name}"${name === 'file' ? '; filename="a"' : ''}`
