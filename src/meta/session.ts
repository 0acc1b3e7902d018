/** Options of the sessions with the database, for those whose other end is lost without a word. */

/**
 * The server ends a session after a minute whose client's machine is gone, or that takes nothing
 * of an answer: by its system's defaults that takes hours. Nothing of it counts on a Unix socket.
 */
const LOST_CLIENT = {
  tcp_keepalives_idle: 30,
  tcp_keepalives_interval: 10,
  tcp_keepalives_count: 3,
  tcp_user_timeout: 60_000,
}

/** Settings as options of a session. */
export function optionsOf(settings: Readonly<Record<string, string | number>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ')
}

/**
 * Lets the server end the session of a client that is lost: what it has locked stays so otherwise.
 * @param pauseMs longest time between two statements of a transaction, in milliseconds. The system
 *   of a process that stands still answers for it, so that nothing else tells
 */
export function lostClientOptions(pauseMs: number): string {
  return optionsOf({ ...LOST_CLIENT, idle_in_transaction_session_timeout: pauseMs })
}

/** A URI without its `options`, which would take the place of ours, and these. */
export function withoutOptions(uri: string): { connectionString: string; given: string } {
  const url = new URL(uri)
  const given = url.searchParams.get('options')
  if (given === null) return { connectionString: uri, given: '' }
  url.searchParams.delete('options')
  return { connectionString: url.href, given }
}
