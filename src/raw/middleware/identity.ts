import type { FileMiddleware } from '../../domain/ports.js'

/** Stores content as it is. */
export const identity: FileMiddleware = {
  name: 'IDENTITY',
  transparent: true,
  encode: (plain) => plain,
  decode: (stored, { start, end }) => stored.read(start, end),
}
