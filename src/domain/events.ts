import type { Instant } from './instant.js'
import type { RawFile } from './models.js'

/** One raw file was newly stored. Schedulers consume this. */
export interface RawFileEvent {
  readonly event_id: 'raw_file_received'
  readonly created_at: Instant
  readonly organization: string
  /** The hash fields are null: they may not be known yet. */
  readonly raw_data: RawFile
}
