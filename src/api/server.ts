import { createServer, type Server, STATUS_CODES } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { Hono } from 'hono'
import type { App } from './route.js'

export interface RunningServer {
  /** Where it listens, such as `http://127.0.0.1:8002`. */
  readonly url: string
  /**
   * Accepts nothing new and waits for the requests in flight.
   * @param timeoutMs then their connections are cut
   * @returns false when some had to be cut
   */
  stop(timeoutMs: number): Promise<boolean>
}

/** @throws the error of `listen`, such as EADDRINUSE */
export async function startServer(
  app: Hono<App>,
  host: string,
  port: number,
): Promise<RunningServer> {
  const listener = getRequestListener(app.fetch, {
    overrideGlobalObjects: false,
    errorHandler: refuseMisdirected,
  })
  const server = createServer((request, response) => {
    void listener(request, response)
  })
  server.on('clientError', refuseUnreadable)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  return { url: urlOf(server), stop: (timeoutMs) => stop(server, timeoutMs) }
}

function urlOf(server: Server): string {
  // A server that listens on a TCP port has such an address.
  const { address, family, port } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

async function stop(server: Server, timeoutMs: number): Promise<boolean> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  let cut = false
  const timer = setTimeout(() => {
    cut = true
    server.closeAllConnections()
  }, timeoutMs)
  await closed
  clearTimeout(timer)
  return !cut
}

/** What has no URL, such as a path with a backslash, does not reach the app. */
function refuseMisdirected(error: unknown): Response {
  const status = error instanceof RequestError ? 400 : 500
  return Response.json({ detail: STATUS_CODES[status] }, { status })
}

/** What Node cannot parse gets a JSON answer like everything else. */
function refuseUnreadable(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const status =
    { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[error.code ?? ''] ?? 400
  const body = JSON.stringify({ detail: STATUS_CODES[status] })
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  )
}
