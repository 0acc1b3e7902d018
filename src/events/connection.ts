import { type ConfirmChannel, connect, credentials } from 'amqplib'

/** Most milliseconds from opening the socket until the queue has been declared. */
export const CONNECT_TIMEOUT_MS = 5_000
/** Most milliseconds for saying goodbye to the broker. */
const CLOSE_TIMEOUT_MS = 1_000
const HEARTBEAT_SECONDS = 15
const PRECONDITION_FAILED = 406
/** Class and method ids of AMQP 0-9-1: the broker names the method for which it closes a channel. */
const QUEUE_DECLARE = { classId: 50, methodId: 10 }
const BASIC_PUBLISH = { classId: 60, methodId: 40 }

/** A connection to the broker with a channel in confirm mode, on which the queue was declared. */
export interface BrokerConnection {
  readonly channel: ConfirmChannel
  /** False once the channel or the connection is lost or being closed. */
  readonly open: boolean
  /** True while the broker does not read messages. */
  readonly blocked: boolean
  /** Resolves, never rejects, to why the connection ended. All confirms have failed by then. */
  readonly ended: Promise<unknown>
  /** Declares the queue, which must not exist with another declaration. */
  assertQueue(): Promise<void>
  /** Destroys the connection at once. */
  drop(reason: Error): void
}

export interface ConnectionOptions {
  readonly uri: string
  readonly queue: string
  /** Ends the connection: at once while it is being opened, with a goodbye afterwards. */
  readonly signal: AbortSignal
  /** The broker has stopped reading messages. Must not throw. */
  readonly onBlocked: (reason: string) => void
  /** The broker reads messages again. Must not throw. */
  readonly onUnblocked: () => void
}

/** Replaces the password in a broker URI, valid or not, by `***`: `amqp://user:***@host/vhost`. */
export function redactUri(uri: string): string {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(uri)?.[0] ?? ''
  // Up to the last '@', as a password may hold one that should have been percent-encoded.
  return scheme + uri.slice(scheme.length).replace(/^([^:@]*):.*@/s, '$1:***@')
}

/** What went wrong, for a log. */
export function describeProblem(problem: unknown): string {
  // Node gives an empty message when it has tried several addresses of a host.
  if (problem instanceof AggregateError && problem.message === '') {
    return problem.errors.map(describeProblem).join('; ')
  }
  return problem instanceof Error ? problem.message || problem.name : String(problem)
}

/** True when the broker closed the channel because of a precondition of `method`. */
function isPrecondition(problem: unknown, method: typeof QUEUE_DECLARE): problem is Error {
  if (!(problem instanceof Error)) return false
  const { code, classId, methodId } = problem as Error & Record<string, unknown>
  return code === PRECONDITION_FAILED && classId === method.classId && methodId === method.methodId
}

/** True for the broker's refusal of a declaration that differs from the existing queue's. */
export function isOtherDeclaration(problem: unknown): boolean {
  return isPrecondition(problem, QUEUE_DECLARE)
}

/** Size in bytes of the message that the broker refused as too large, if that is the problem. */
export function refusedSize(problem: unknown): number | undefined {
  if (!isPrecondition(problem, BASIC_PUBLISH)) return undefined
  const size = /message size (\d+)/.exec(problem.message)?.[1]
  return size === undefined ? undefined : Number(size)
}

/** Takes the credentials out of the URI, so that no library can put them in a message. */
function parseUri(uri: string) {
  let url: URL
  let user: string
  let password: string
  try {
    url = new URL(uri)
    user = decodeURIComponent(url.username)
    password = decodeURIComponent(url.password)
  } catch {
    // The original error has the whole URI in a property.
    throw new Error('The URI of the broker is not valid')
  }
  if (url.protocol !== 'amqp:' && url.protocol !== 'amqps:') {
    throw new Error('The URI of the broker must begin with amqp:// or amqps://')
  }
  if (`${url.pathname}${url.search}${url.hash}`.includes('@')) {
    // Most likely a password with a '/', '?' or '#', half of which would be taken for the host.
    throw new Error('The URI of the broker has an @ after the host: percent-encode the password')
  }
  url.username = ''
  url.password = ''
  if (!url.searchParams.has('heartbeat')) {
    url.searchParams.set('heartbeat', String(HEARTBEAT_SECONDS))
  }
  const anonymous = user === '' && password === ''
  return {
    url: url.href,
    login: anonymous ? credentials.plain('guest', 'guest') : credentials.plain(user, password),
  }
}

/**
 * Connects to the broker and declares the queue, within `CONNECT_TIMEOUT_MS`.
 * @throws Error for whatever went wrong; its message holds no password
 */
export async function openConnection(options: ConnectionOptions): Promise<BrokerConnection> {
  const { queue, signal } = options
  const { url, login } = parseUri(options.uri)
  const socket = new AbortController()
  let failure: unknown
  let opened = false
  let over = false
  let ending = false
  let blocked = false
  let end = async (): Promise<void> => {}

  // Destroying the socket makes amqplib fail whatever it is waiting for, in every phase.
  function drop(reason: unknown): void {
    failure ??= reason
    socket.abort()
  }

  function onAbort(): void {
    if (opened) void end()
    else drop(signal.reason)
  }

  const timer = setTimeout(
    () => drop(new Error(`The broker did not answer within ${CONNECT_TIMEOUT_MS} ms`)),
    CONNECT_TIMEOUT_MS,
  )
  signal.addEventListener('abort', onAbort)
  try {
    // Not in the call, as amqplib's types lack `signal`, which it hands on to the socket.
    const socketOptions = {
      credentials: login,
      signal: socket.signal,
      noDelay: true,
      clientProperties: { connection_name: 'bytes' },
    }
    const model = await connect(url, socketOptions)
    const ended = new Promise<unknown>((resolve) => {
      model.on('error', (error) => {
        failure ??= error
      })
      model.on('close', (error) => {
        over = true
        ending = true
        failure ??= error ?? new Error('The connection was closed')
        signal.removeEventListener('abort', onAbort)
        // amqplib ends its half of the socket only, and a frozen broker never ends the other.
        socket.abort()
        resolve(failure)
      })
    })
    model.on('blocked', (reason) => {
      blocked = true
      options.onBlocked(reason)
    })
    model.on('unblocked', () => {
      blocked = false
      options.onUnblocked()
    })
    end = async () => {
      if (ending) return
      ending = true
      over = true
      const patience = setTimeout(() => socket.abort(), CLOSE_TIMEOUT_MS)
      // `close` never settles when the socket is lost meanwhile.
      await Promise.race([model.close().catch(() => socket.abort()), ended])
      clearTimeout(patience)
    }

    const assertQueue = async () => {
      await channel.assertQueue(queue, { durable: true, exclusive: false, autoDelete: false })
    }
    const channel = await model.createConfirmChannel().catch(async (error: unknown) => {
      failure ??= error
      await end()
      throw error
    })
    channel.on('error', (error) => {
      failure ??= error
    })
    channel.on('close', () => {
      over = true
      // Later, as this is also emitted in the middle of closing the connection.
      setImmediate(() => end())
    })
    await assertQueue().catch(async (error: unknown) => {
      await end()
      throw error
    })
    opened = true
    return {
      channel,
      get open() {
        return !over
      },
      get blocked() {
        return blocked
      },
      ended,
      assertQueue,
      drop,
    }
  } catch (error) {
    signal.removeEventListener('abort', onAbort)
    throw failure ?? error
  } finally {
    clearTimeout(timer)
  }
}
