/** What the names of a zip archive come to when it is unpacked. */
import { BUNDLE, isHashTreeName } from '../domain/evidence-bundle.js'
import { trimEnd } from '../domain/trim-end.js'

/** Info-ZIP leaves out a version (`;1`) and what cannot be printed, Windows dots and spaces at ends. */
function unpacked(name: string): string {
  return name
    .normalize('NFKC')
    .replace(/\p{C}/gu, '')
    .replace(/;\d*$/, '')
    .split('/')
    .map((part) => trimEnd(part, (unit) => unit === '.' || unit === ' '))
    .filter((part) => part !== '')
    .join('/')
    .toUpperCase()
}

const OURS = new Map(Object.values(BUNDLE).map((name) => [unpacked(name), name]))

/**
 * The file of a bundle in whose place an entry of this name is unpacked, by one program or another,
 * on a file system with or without regard to case: its own, `content` for `./content`.
 * @returns undefined when it is none of a bundle's
 */
export function bundleNameOf(name: string): string | undefined {
  const place = unpacked(name)
  const inTree = place.toLowerCase()
  return OURS.get(place) ?? (isHashTreeName(inTree) ? inTree : undefined)
}
