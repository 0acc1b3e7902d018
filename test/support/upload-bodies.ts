/** Bodies of uploads for tests of their parser: valid ones of every kind, and damaged ones. */

/** Mulberry32: the numbers in [0, 1) that follow from a seed. */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const SPACES = [' ', '\n', '\r', '\t', '  \r\n']
const SCALARS = ['null', 'true', 'false', '0', '-0', '-1.5e+10', '1E2', '12345678901234567890']
const TEXTS = ['', 'dns', '{[', ']}', ',:', '"', '\\', '\\"', 'é', '名前', '😀', '\u0000', '\ud800']
const KEYS = [
  'content',
  'files',
  'name',
  'tags',
  '',
  'contents',
  'é',
  '__proto__',
  'a"b',
  'Content',
]
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '/': '\\/',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
}
/** Bytes that matter to a parser of JSON or base64, and some that matter to UTF-8. */
const BYTES = Buffer.from('"\\{}[],:=-_ \n\t/unA0\0\u00e9\ufeff\u00ff')

/** Makes one body and its cuts; the same seed makes the same. */
export class UploadBodies {
  readonly #random: () => number

  constructor(seed: number) {
    this.#random = randomNumbers(seed)
  }

  /** A whole number in [0, below). */
  #below(below: number): number {
    return Math.floor(this.#random() * below)
  }

  #chance(probability: number): boolean {
    return this.#random() < probability
  }

  #pick<T>(from: ArrayLike<T>): T {
    return from[this.#below(from.length)] as T
  }

  #times<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.#below(most + 1) }, make)
  }

  #space(): string {
    return this.#chance(0.1) ? this.#pick(SPACES) : ''
  }

  /** A JSON string token; each unit of the text is escaped with the probability, in a random way. */
  #token(text: string, escapes = this.#chance(0.3) ? 0.3 : 0): string {
    let token = '"'
    for (let at = 0; at < text.length; at++) {
      const unit = text.charAt(at)
      const lone = unit >= '\ud800' && unit <= '\udfff' && text.length === 1
      const must = unit < ' ' || unit === '"' || unit === '\\' || lone
      if (!must && !(escapes > 0 && this.#chance(escapes))) token += unit
      else if (SHORT[unit] !== undefined && this.#chance(0.5)) token += SHORT[unit]
      else {
        const hex = unit.charCodeAt(0).toString(16).padStart(4, '0')
        token += `\\u${this.#chance(0.5) ? hex : hex.toUpperCase()}`
      }
    }
    return `${token}"`
  }

  #list(open: string, items: readonly string[], close: string): string {
    const padded = items.map((item) => this.#space() + item + this.#space())
    return open + (padded.length > 0 ? padded.join(',') : this.#space()) + close
  }

  #object(members: readonly (readonly [string, string])[]): string {
    const items = members.map(
      ([key, value]) => `${this.#token(key)}${this.#space()}:${this.#space()}${value}`,
    )
    for (let at = items.length - 1; at > 0; at--) {
      const other = this.#below(at + 1)
      const item = items[at] as string
      items[at] = items[other] as string
      items[other] = item
    }
    return this.#list('{', items, '}')
  }

  /** Any value; its objects have the keys that matter, where they do not. */
  #value(depth: number): string {
    const kind = this.#below(depth > 0 ? 6 : 3)
    if (kind === 0) return this.#pick(SCALARS)
    if (kind <= 2) return this.#token(this.#times(3, () => this.#pick(TEXTS)).join(''))
    if (kind === 3)
      return this.#list(
        '[',
        this.#times(3, () => this.#value(depth - 1)),
        ']',
      )
    if (kind === 4) return this.#object(this.#members(depth - 1))
    return this.#body(depth - 1)
  }

  #members(depth: number): [string, string][] {
    return this.#times(3, () => [this.#pick(KEYS), this.#value(depth)])
  }

  /** Base64 in any spelling that is let through, and now and then one that is not. */
  #base64(): string {
    const letters = Array.from({ length: this.#below(12) }, () => this.#pick(LETTERS))
    const padding = [0, this.#chance(0.98) ? -1 : 0, 2, 1][letters.length % 4] ?? 0
    if (padding < 0) letters.pop()
    else for (let i = 0; i < padding; i++) letters.push('=')
    if (this.#chance(0.1)) letters.push('=')
    if (this.#chance(0.2)) {
      letters.splice(
        this.#below(letters.length + 1),
        0,
        this.#pick([' ', '\n', '\r', '\t', '\f', '\v']),
      )
    }
    if (this.#chance(0.01))
      letters.splice(this.#below(letters.length), 1, this.#pick('-_=!"\\é\u0000'))
    return letters.join('')
  }

  #file(): string {
    if (this.#chance(0.05)) return this.#value(1)
    const members = this.#chance(0.2) ? this.#members(1) : []
    if (this.#chance(0.9)) members.push(['name', this.#token(this.#pick(TEXTS))])
    if (this.#chance(0.3)) members.push(['tags', '["text/plain","boefje/dns"]'])
    const contents = this.#chance(0.1) ? this.#below(3) : 1
    for (let i = 0; i < contents; i++) {
      const text = this.#chance(0.97) ? this.#token(this.#base64()) : this.#value(1)
      members.push(['content', text])
    }
    return this.#object(members)
  }

  #body(depth: number): string {
    const members = this.#chance(0.2) ? this.#members(depth) : []
    const lists = this.#chance(0.1) ? this.#below(3) : 1
    for (let i = 0; i < lists; i++) {
      const files = this.#chance(0.97)
        ? this.#list(
            '[',
            this.#times(3, () => this.#file()),
            ']',
          )
        : this.#value(1)
      members.push(['files', files])
    }
    if (this.#chance(0.5)) members.push(['status', this.#value(0)])
    return this.#object(members)
  }

  /** Valid JSON in UTF-8. */
  valid(): Buffer {
    const body = this.#chance(0.98) ? this.#body(2) : this.#value(2)
    return Buffer.from(this.#space() + body + this.#space())
  }

  /** A body with one or two bytes put in, taken out or replaced, or cut off: still valid at times. */
  damaged(): Buffer {
    let bytes = this.valid()
    for (let left = 1 + this.#below(2); left > 0; left--) {
      const at = this.#below(bytes.length + 1)
      const byte = this.#chance(0.8) ? this.#pick(BYTES) : this.#below(256)
      const [put, taken] = this.#pick([
        [[byte], 0],
        [[byte], 1],
        [[], 1],
        [[], 1 + this.#below(8)],
        [[], this.#chance(0.3) ? bytes.length : 1],
        [bytes.subarray(this.#below(at + 1), at), 0],
      ] as const)
      bytes = Buffer.concat([
        bytes.subarray(0, at),
        Uint8Array.from(put),
        bytes.subarray(at + taken),
      ])
    }
    return bytes
  }

  /** The bytes in order, in copies: cut nowhere, at a few places, or everywhere. */
  chunks(bytes: Buffer): Buffer[] {
    const longest = this.#pick([1, 1, 4, 40, 200, bytes.length])
    const chunks: Buffer[] = []
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + this.#below(longest)
      chunks.push(Buffer.from(bytes.subarray(at, end)))
      at = end
    }
    return chunks
  }
}
