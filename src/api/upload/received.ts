import type { Upload } from '../../flows/ingest.js'
import { unprocessable } from '../problems.js'

/** A body that is being read as an upload. */
export type BodyUpload = Omit<Upload, 'boefjeMetaId'>

/** @throws HttpProblem 422 when there are more files than one upload may have */
export function refuseTooMany(files: number, most: number): void {
  if (files <= most) return
  throw unprocessable(
    `body: more than ${most} files in one upload (BYTES_MAX_FILES_PER_UPLOAD): send several`,
  )
}
