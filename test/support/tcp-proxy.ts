/** A TCP proxy that can be cut, so that what is behind it seems to be gone, or stand still. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { createForwarding, type Forwarding } from './forwarding.js'

export interface TcpProxy extends Pick<Forwarding, 'freeze' | 'thaw'> {
  readonly port: number
  /** Destroys all connections and refuses new ones. */
  cut(): Promise<void>
  restore(): Promise<void>
}

export async function startProxy(host: string, port: number): Promise<TcpProxy> {
  const { join, destroy, freeze, thaw } = createForwarding()
  const server = createServer((socket) => join(socket, connect(port, host)))
  const listen = async (on: number): Promise<void> => {
    server.listen(on, '127.0.0.1')
    await once(server, 'listening')
  }
  await listen(0)
  const { port: own } = server.address() as AddressInfo
  return {
    port: own,
    cut: async () => {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      destroy()
      await closed
    },
    restore: () => listen(own),
    freeze,
    thaw,
  }
}
