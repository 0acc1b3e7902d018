/** Where the settings keep blobs, and the file middleware that they are written with. */
import type { RawRepository } from './domain/ports.js'
import { type DiskRepositoryOptions, openDiskRepository } from './raw/disk-repository.js'
import { createMiddlewares } from './raw/middleware/all.js'
import { createKeyRing } from './raw/middleware/sealed-box/keys.js'
import type { Settings } from './settings.js'

/**
 * Takes the keys from the settings and wipes them there: to be called before anything else.
 * @returns opens the repository
 */
export function composeStorage(settings: Settings): () => Promise<RawRepository> {
  const middleware = middlewareOf(settings)
  return () =>
    openDiskRepository({
      dataDir: settings.dataDir,
      folderPermission: settings.folderPermission,
      filePermission: settings.filePermission,
      reserveBytes: settings.diskReserveBytes,
      ...middleware,
    })
}

/** The file middleware that the settings ask for, and all that may have been asked for before. */
function middlewareOf(settings: Settings): Pick<DiskRepositoryOptions, 'middleware' | 'readers'> {
  const readers = createMiddlewares(createKeyRing(settings))
  const middleware = readers.find(({ name }) => name === settings.encryptionMiddleware)
  if (!middleware) throw new Error(`there is no middleware ${settings.encryptionMiddleware}`)
  return { middleware, readers }
}
