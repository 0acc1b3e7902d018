import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { openApiDocument } from '../openapi.js'
import { json, type Route, route } from '../route.js'

/** Files of Swagger UI that the page loads, from its npm package and not from a CDN. */
const ASSETS = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
} as const

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Bytes API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`

const START = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true })
`

/** Swagger UI sets inline styles and images; everything else comes from this origin. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"

const CACHED = { 'cache-control': 'public, max-age=86400' }

/**
 * The OpenAPI document of `routes`, and an interactive page for it.
 * @throws Error when the npm package of Swagger UI is not installed
 */
export function docsRoutes(routes: readonly Route[], version: string): Route[] {
  // Made when it is asked for: it takes as long as a tenth of the start.
  let document: string | undefined
  const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
  const file = (pattern: string, mediaType: string, read: () => string | Buffer): Route => {
    let content: Uint8Array<ArrayBuffer> | undefined
    return route({
      method: 'get',
      pattern,
      summary: 'A file of the interactive page',
      access: 'open',
      answers: { 200: { description: 'The file', mediaType } },
      handle: ({ c }) => {
        content ??= new Uint8Array(Buffer.from(read()))
        return c.body(content, 200, { 'content-type': mediaType, ...CACHED })
      },
    })
  }
  return [
    route({
      method: 'get',
      pattern: '/openapi.json',
      summary: 'The OpenAPI document',
      access: 'open',
      answers: { 200: { description: 'The document' } },
      handle: ({ c }) => {
        document ??= JSON.stringify(openApiDocument(routes, version))
        return json(c, document)
      },
    }),
    route({
      method: 'get',
      pattern: '/docs',
      summary: 'An interactive page of the API',
      access: 'open',
      answers: { 200: { description: 'The page', mediaType: 'text/html' } },
      handle: ({ c }) =>
        c.body(PAGE, 200, {
          'content-type': 'text/html; charset=utf-8',
          'content-security-policy': POLICY,
        }),
    }),
    file('/docs/start.js', 'text/javascript; charset=utf-8', () => START),
    ...Object.entries(ASSETS).map(([name, mediaType]) =>
      file(`/docs/${name}`, mediaType, () => readFileSync(join(folder, name))),
    ),
  ]
}
