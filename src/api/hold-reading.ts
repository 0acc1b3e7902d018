import type { Socket } from 'node:net'

/**
 * Reads no more of a connection: what its client sends waits on the way.
 * @returns reads on
 */
export function holdReading(socket: Socket): () => void {
  const pauseAgain = (): void => void socket.pause()
  socket.pause()
  // Node goes on by itself with the end of each message, and for a body that is asked for.
  socket.on('resume', pauseAgain)
  return () => {
    socket.off('resume', pauseAgain)
    socket.resume()
  }
}
