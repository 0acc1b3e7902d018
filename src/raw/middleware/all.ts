import type { FileMiddleware } from '../../domain/ports.js'
import { identity } from './identity.js'
import type { KeyRing } from './sealed-box/keys.js'
import { createSealedBox } from './sealed-box/sealed-box.js'

/** Every file middleware there is: any may have written a blob that is read. */
export function createMiddlewares(ring: KeyRing): readonly FileMiddleware[] {
  return [identity, createSealedBox(ring)]
}
