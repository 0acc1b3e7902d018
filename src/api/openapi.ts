import { z } from 'zod'
import type { Answer, Route } from './route.js'
import { failure, validationFailure } from './schemas.js'

/** The OpenAPI 3.1 document, from the schemas that validate the requests. */
export function openApiDocument(routes: readonly Route[], version: string): object {
  const schemas: Schemas = {}
  const paths: Record<string, Record<string, object>> = {}
  for (const route of routes) {
    paths[route.pattern] = { ...paths[route.pattern], [route.method]: operation(route, schemas) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Bytes',
      version,
      description: 'Stores raw files and the metadata of the jobs that made them.',
      license: { name: 'EUPL-1.2', identifier: 'EUPL-1.2' },
    },
    paths,
    components: {
      schemas,
      securitySchemes: {
        bearer: { type: 'oauth2', flows: { password: { tokenUrl: '/token', scopes: {} } } },
        basic: { type: 'http', scheme: 'basic' },
      },
    },
  }
}

/** Named schemas, which go to the components of the document. */
type Schemas = Record<string, unknown>

function operation(route: Route, schemas: Schemas): object {
  const content = { 'application/json': route.body, ...route.reads }
  const bodies = Object.entries(content).flatMap(([type, schema]) =>
    schema ? [[type, { schema: jsonSchema(schema, schemas) }] as const] : [],
  )
  return {
    summary: route.summary,
    tags: [tagOf(route.pattern)],
    parameters: [
      ...parameters('path', route.path, schemas),
      ...parameters('query', route.query, schemas),
      ...Object.entries(route.headers ?? {}).map(([name, description]) => {
        return { name, in: 'header', description, schema: { type: 'string' } }
      }),
    ],
    ...(bodies.length > 0 && {
      requestBody: { required: !route.mayLackBody, content: Object.fromEntries(bodies) },
    }),
    responses: Object.fromEntries(
      Object.entries({ ...refusals(route), ...route.answers }).map(([status, answer]) => [
        status,
        response(answer, schemas),
      ]),
    ),
    security: {
      open: [],
      bearer: [{ bearer: [] }],
      'bearer or basic': [{ bearer: [] }, { basic: [] }],
    }[route.access],
  }
}

function tagOf(pattern: string): string {
  if (!pattern.startsWith('/bytes/')) return 'Service'
  return pattern.includes('_meta') && !pattern.startsWith('/bytes/raw') ? 'Jobs' : 'Raw files'
}

function parameters(
  place: 'path' | 'query',
  shape: z.ZodObject | undefined,
  schemas: Schemas,
): object[] {
  return Object.entries(shape?.shape ?? {}).map(([name, field]) => {
    const schema = z.safeParse(z.instanceof(z.ZodType), field).data ?? z.unknown()
    const required = place === 'path' || !schema.safeParse(undefined).success
    return { name, in: place, required, schema: jsonSchema(schema, schemas) }
  })
}

/** The refusals that a route has because of what it takes. */
function refusals(route: Route): Record<number, Answer> {
  const takes = route.body ?? route.reads
  return {
    ...(route.access !== 'open' && {
      401: { description: 'No valid credentials', schema: failure },
    }),
    ...(takes && {
      408: { description: 'The client fell silent, or is very slow', schema: failure },
      413: { description: 'The body is too long', schema: failure },
      415: { description: 'The body is compressed', schema: failure },
    }),
    ...((takes ?? route.query ?? route.path) && {
      422: { description: 'The request is malformed', schema: validationFailure },
    }),
  }
}

function response(answer: Answer, schemas: Schemas): object {
  const { description, schema, mediaType = 'application/json', headers } = answer
  const described = Object.entries(headers ?? {}).map(([name, meaning]) => {
    return [name, { description: meaning, schema: { type: 'string' } }]
  })
  const head = { description, ...(headers && { headers: Object.fromEntries(described) }) }
  if (schema) return { ...head, content: { [mediaType]: { schema: jsonSchema(schema, schemas) } } }
  if (mediaType === 'application/json') return head
  return { ...head, content: { [mediaType]: {} } }
}

/**
 * What goes over the wire: the input side of a schema that transforms. Zod puts named schemas
 * beside each schema that refers to them; they are moved to the components.
 */
function jsonSchema(schema: z.ZodType, schemas: Schemas): object {
  const made = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  const text = JSON.stringify(made).replaceAll('"#/$defs/', '"#/components/schemas/')
  const { $schema: _, $defs = {}, id: name, ...rest } = JSON.parse(text)
  for (const [key, { id: _id, ...definition }] of Object.entries<{ id?: string }>($defs)) {
    schemas[key] = definition
  }
  if (typeof name !== 'string') return rest
  schemas[name] = rest
  return { $ref: `#/components/schemas/${name}` }
}
