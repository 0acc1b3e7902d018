import type { FileMiddleware } from '../../domain/ports.js'

/** Stores content as it is. */
export const identity: FileMiddleware = {
  name: 'IDENTITY',
  transparent: true,
  authenticated: false,
  presumesKey: () => false,
  encode: (plain) => ({ stored: plain, sealedKey: null }),
  decode: (stored, { start, end }) => stored.read(start, end),
}
