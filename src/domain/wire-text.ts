/**
 * Domain objects to the JSON text of the protocol. Text is put together by hand because
 * `arguments` and `environment` go out exactly as they came in, and because key order is part of
 * what clients have seen.
 */
import type { RawFileEvent } from './events.js'
import type { BoefjeMeta, JsonText, NormalizerMeta, RawFile } from './models.js'

const text = JSON.stringify

/** JSON object from keys and values that are JSON text already; keeps order and any key. */
export function objectText(members: Iterable<readonly [string, JsonText]>): JsonText {
  return `{${[...members].map(([key, value]) => `${text(key)}:${value}`).join(',')}}`
}

/** JSON array from values that are JSON text already. */
export function arrayText(values: Iterable<JsonText>): JsonText {
  return `[${[...values].join(',')}]`
}

export function boefjeMetaText(meta: BoefjeMeta): JsonText {
  return (
    `{"id":"${meta.id}","started_at":"${meta.startedAt}","ended_at":"${meta.endedAt}",` +
    `"boefje":{"id":${text(meta.boefje.id)},"version":${text(meta.boefje.version)}},` +
    `"input_ooi":${text(meta.inputOoi)},"arguments":${meta.arguments},` +
    `"organization":${text(meta.organization)},"runnable_hash":${text(meta.runnableHash)},` +
    `"environment":${meta.environment ?? 'null'}}`
  )
}

export function mimeTypesText(mimeTypes: readonly string[]): JsonText {
  return arrayText(mimeTypes.map((value) => `{"value":${text(value)}}`))
}

/** @param jobText the job's text when it is at hand already, so that it is not written again */
export function rawFileText(file: RawFile, jobText = boefjeMetaText(file.boefjeMeta)): JsonText {
  return (
    `{"id":"${file.id}","boefje_meta":${jobText},"mime_types":${mimeTypesText(file.mimeTypes)},` +
    `"secure_hash":${text(file.secureHash)},"signing_provider_url":${text(file.signingProviderUrl)},` +
    `"hash_retrieval_link":${text(file.hashRetrievalLink)}}`
  )
}

export function normalizerMetaText(meta: NormalizerMeta): JsonText {
  return (
    `{"id":"${meta.id}","started_at":"${meta.startedAt}","ended_at":"${meta.endedAt}",` +
    `"raw_data":${rawFileText(meta.rawFile)},` +
    `"normalizer":{"id":${text(meta.normalizer.id)},"version":${text(meta.normalizer.version)}}}`
  )
}

/** Body of the message that goes to the queue. */
export function rawFileEventText(event: RawFileEvent, jobText?: JsonText): JsonText {
  return (
    `{"event_id":"${event.event_id}","created_at":"${event.created_at}",` +
    `"organization":${text(event.organization)},"raw_data":${rawFileText(event.raw_data, jobText)}}`
  )
}
