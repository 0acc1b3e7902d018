/** Which sockets of a process are whose, as Linux tells in /proc. */
import { readFile } from 'node:fs/promises'
import { openFiles } from './strace.js'

/** State of a TCP socket that waits for connections (include/net/tcp_states.h). */
const LISTEN = '0A'
/** Standard output and error may be sockets too. */
const STANDARD = 2

export interface Sockets {
  /** Names of the descriptors, such as `socket:[123]`. */
  /** Accepted connections. */
  readonly clients: readonly string[]
  readonly broker: readonly string[]
  /** All others; the database is spoken with over Unix sockets. */
  readonly database: readonly string[]
}

/**
 * Tells the sockets of a service apart.
 * @param port of the service
 * @param brokerPort that it connects to; 0 for none
 */
export async function socketsOf(pid: number, port: number, brokerPort: number): Promise<Sockets> {
  const tcp = new Map<string, { local: number; remote: number; state: string }>()
  for (const line of (await readFile(`/proc/${pid}/net/tcp`, 'utf8')).split('\n')) {
    const fields = line.trim().split(/\s+/)
    const [, local = '', remote = '', state = ''] = fields
    const portOf = (address: string): number => Number.parseInt(address.split(':')[1] ?? '', 16)
    tcp.set(`socket:[${fields[9]}]`, { local: portOf(local), remote: portOf(remote), state })
  }
  const found = { clients: [], broker: [], database: [] } as {
    [kind in keyof Sockets]: string[]
  }
  for (const [descriptor, name] of await openFiles(pid)) {
    if (descriptor <= STANDARD || !name.startsWith('socket:')) continue
    const socket = tcp.get(name)
    if (!socket) found.database.push(name)
    else if (socket.local === port && socket.state !== LISTEN) found.clients.push(name)
    else if (socket.remote === brokerPort) found.broker.push(name)
  }
  return found
}
