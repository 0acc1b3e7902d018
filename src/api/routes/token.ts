import { type Auth, unauthorized } from '../auth.js'
import { readBody } from '../body.js'
import { malformed } from '../problems.js'
import { type AppContext, clientOf, json, type Route, route } from '../route.js'
import * as schemas from '../schemas.js'
import { validate } from '../validate.js'

const MAX_FORM_BYTES = 64 * 1024

/**
 * The log-in: OAuth2's password grant (RFC 6749, section 4.3).
 * @param idleMs longest wait for the client's next bytes in milliseconds
 */
export function tokenRoute(auth: Auth, idleMs: number): Route {
  return route({
    method: 'post',
    pattern: '/token',
    summary: 'Log in: an access token for the username and password',
    access: 'open',
    reads: { 'application/x-www-form-urlencoded': schemas.credentials },
    answers: {
      200: { description: 'A bearer token', schema: schemas.accessToken },
      401: { description: 'Wrong credentials', schema: schemas.failure },
      429: { description: 'Too many tries', schema: schemas.failure },
    },
    handle: async ({ c }) => {
      await auth.countLogIn(clientOf(c))
      const form = validate(schemas.credentials, await readForm(c, idleMs), 'body')
      if (!auth.accepts(form.username, form.password)) {
        throw unauthorized('Incorrect username or password')
      }
      const { token, expiresAt } = await auth.issue()
      const answer = {
        access_token: token,
        token_type: 'bearer',
        expires_at: new Date(expiresAt).toISOString().replace('Z', '000+00:00'),
      }
      return json(c, JSON.stringify(answer), 200, { 'cache-control': 'no-store' })
    },
  })
}

/** Fields of a form; of a repeated one the last counts. Any other type of body has no fields. */
async function readForm(c: AppContext, idleMs: number): Promise<Record<string, string>> {
  const limits = { bytes: MAX_FORM_BYTES, setBy: 'a log-in', idleMs }
  const body = await readBody(c.env.incoming, limits)
  const contentType = c.req.header('content-type') ?? ''
  if (/^application\/x-www-form-urlencoded\b/i.test(contentType)) {
    return Object.fromEntries(new URLSearchParams(body.toString('utf8')))
  }
  if (!/^multipart\/form-data\b/i.test(contentType)) return {}
  const headers = { 'content-type': contentType }
  const form = await new Response(new Uint8Array(body), { headers }).formData().catch(() => {
    throw malformed([{ loc: ['body'], msg: 'Not a valid multipart form', type: 'multipart' }])
  })
  const texts = [...form].filter((entry): entry is [string, string] => typeof entry[1] === 'string')
  return Object.fromEntries(texts)
}
