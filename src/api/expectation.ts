/** `Expect: 100-continue` (RFC 9110, section 10.1.1): clients that send a body only when they may. */
import type { IncomingMessage, ServerResponse } from 'node:http'

const waiting = new WeakMap<IncomingMessage, ServerResponse>()

/** Notes that the client waits for leave to send its body. */
export function awaitsLeave(incoming: IncomingMessage, outgoing: ServerResponse): void {
  waiting.set(incoming, outgoing)
}

/** Lets a client send its body if it waits for that. */
export function allowBody(incoming: IncomingMessage): void {
  const outgoing = waiting.get(incoming)
  if (outgoing && !outgoing.headersSent) outgoing.writeContinue()
  waiting.delete(incoming)
}

/** Whether it is still open if the client may send its body; a refusal ends the connection. */
export function isUndecided(incoming: IncomingMessage): boolean {
  return waiting.get(incoming)?.headersSent === false
}
