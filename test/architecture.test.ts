/** The shape of the source: which file may import which, and a few rules that keep it readable. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Rooms from the bottom to the top: imports point downward only. */
const TIERS: readonly (readonly string[])[] = [
  ['domain'],
  ['raw', 'hashing', 'meta', 'events', 'embedded', 'client'],
  ['flows'],
  ['api'],
  [
    'cli',
    'compose.ts',
    'compose-anchors.ts',
    'compose-database.ts',
    'compose-releases.ts',
    'compose-scrub.ts',
    'compose-storage.ts',
    'compose-timestamps.ts',
    'main.ts',
    'credentials.ts',
    'version.ts',
  ],
]
const TOP = TIERS.length - 1
/** They import nothing of ours, and are no business of the domain, the adapters and the flows. */
const SIDE: readonly string[] = [
  'environment.ts',
  'settings.ts',
  'timestamp-settings.ts',
  'client-settings.ts',
  'logging.ts',
]
/** Those of them that the others may import. */
const SIDE_BASES: readonly string[] = ['environment.ts', 'timestamp-settings.ts']
/** The client of the service is for others; of the program itself only these use it. */
const CLIENT_USERS: readonly string[] = ['client', 'cli']
/** Adapters: a port in the domain joins them. */
const ADAPTERS = 1

const MAX_LINES = 300
const READS_ENVIRONMENT: Readonly<Record<string, string>> = {
  'client-settings.ts': 'the same for the commands that are clients of a service',
  'settings.ts': 'its only purpose',
  'embedded/account.ts': 'hands PATH and LD_LIBRARY_PATH on to child processes, decides nothing',
}

function filesBelow(folder: string): string[] {
  return readdirSync(resolve(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => name.replaceAll('\\', '/'))
    .sort()
}

function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*[\s\S]*?\*\/|(^|\s)\/\/.*$/gm, '$1')
}

/** Every module that the text names: imports, re-exports, `import()` and type imports. */
function specifiersOf(text: string): string[] {
  const found: string[] = []
  const forms = [
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\b(?:import|require)\s*\(\s*['"`]([^'"`]+)['"`]/g,
  ]
  const code = withoutComments(text)
  for (const form of forms) for (const match of code.matchAll(form)) found.push(match[1] ?? '')
  return found
}

/** The files of ours that a file imports, relative to `base`. */
function importsOf(base: string, file: string): string[] {
  const path = resolve(ROOT, base, file)
  return specifiersOf(readFileSync(path, 'utf8'))
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => resolve(dirname(path), specifier.replace(/\.js$/, '.ts')))
    .map((target) => relative(resolve(ROOT, base), target).replaceAll('\\', '/'))
}

const SOURCES = filesBelow('src')
const GRAPH = new Map(SOURCES.map((file) => [file, importsOf('src', file)]))
const EDGES = [...GRAPH].flatMap(([from, targets]) => targets.map((to) => [from, to] as const))

const roomOf = (file: string): string => file.split('/')[0] ?? ''
const tierOf = (file: string): number => TIERS.findIndex((rooms) => rooms.includes(roomOf(file)))

/** Why this import is not allowed; undefined when it is. */
function objection(from: string, to: string): string | undefined {
  if (SIDE.includes(from)) return SIDE_BASES.includes(to) ? undefined : 'imports something of ours'
  if (SIDE.includes(to)) {
    return tierOf(from) >= TIERS.findIndex((r) => r.includes('api'))
      ? undefined
      : 'not its business'
  }
  if (tierOf(from) === ADAPTERS && tierOf(to) === ADAPTERS && roomOf(from) !== roomOf(to)) {
    return 'adapters import each other'
  }
  if (roomOf(to) === 'client' && !CLIENT_USERS.includes(roomOf(from))) return 'uses the client'
  return tierOf(to) <= tierOf(from) ? undefined : 'points upward'
}

function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>()
  const walk = (file: string, path: string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
    if (done.has(file)) return undefined
    for (const target of graph.get(file) ?? []) {
      const cycle = walk(target, [...path, file])
      if (cycle) return cycle
    }
    done.add(file)
    return undefined
  }
  for (const file of graph.keys()) {
    const cycle = walk(file, [])
    if (cycle) return cycle
  }
  return undefined
}

describe('imports', () => {
  it('are found in all their forms', () => {
    const text = [
      "import a from './a.js'",
      "import type { B } from './b.js'",
      "import {\n  c,\n  d,\n} from './c.js'",
      "export * from './e.js'",
      "import './f.js'",
      "const g = await import('./g.js')",
      "let h: import('./h.js').H",
      "// import i from './i.js'",
      "/** import j from './j.js' */",
    ].join('\n')
    const names = specifiersOf(text).map((s) => s.slice(2, 3))
    expect(names.sort()).toEqual(['a', 'b', 'c', 'e', 'f', 'g', 'h'])
  })

  it('are all understood', () => {
    expect(SOURCES.length).toBeGreaterThan(40)
    expect(EDGES.length).toBeGreaterThan(100)
    const missing = EDGES.filter(([, to]) => !GRAPH.has(to))
    expect(missing).toEqual([])
    const homeless = SOURCES.filter((file) => tierOf(file) < 0 && !SIDE.includes(file))
    expect(homeless).toEqual([])
  })

  it('point downward only', () => {
    const wrong = EDGES.map(([from, to]) => ({ from, to, why: objection(from, to) }))
    expect(wrong.filter(({ why }) => why !== undefined)).toEqual([])
  })

  it.each([
    ['domain/models.ts', 'flows/relay.ts', 'points upward'],
    ['flows/relay.ts', 'api/app.ts', 'points upward'],
    ['api/app.ts', 'compose.ts', 'points upward'],
    ['raw/disk-repository.ts', 'meta/client.ts', 'adapters import each other'],
    ['flows/relay.ts', 'settings.ts', 'not its business'],
    ['settings.ts', 'domain/models.ts', 'imports something of ours'],
    ['settings.ts', 'logging.ts', 'imports something of ours'],
    ['client/client.ts', 'settings.ts', 'not its business'],
    ['client/verify.ts', 'hashing/hasher.ts', 'adapters import each other'],
    ['flows/relay.ts', 'client/client.ts', 'uses the client'],
    ['compose.ts', 'client/client.ts', 'uses the client'],
    ['client/verify.ts', 'domain/instant.ts', undefined],
    ['cli/put.ts', 'client/client.ts', undefined],
    ['client-settings.ts', 'environment.ts', undefined],
    ['flows/ingest.ts', 'hashing/hasher.ts', undefined],
    ['raw/disk-repository.ts', 'raw/durable.ts', undefined],
    ['api/app.ts', 'logging.ts', undefined],
    ['cli/serve.ts', 'compose.ts', undefined],
  ])('are judged: in %s of %s: %s', (from, to, why) => {
    expect(objection(from, to)).toBe(why)
  })

  it('have no cycles', () => {
    expect(findCycle(GRAPH)).toBeUndefined()
    const circle = { a: ['b', 'c'], b: ['d'], c: ['d'], d: ['b'] }
    expect(findCycle(new Map(Object.entries(circle)))).toEqual(['b', 'd', 'b'])
  })

  it('lead from the entry to every file', () => {
    const reached = new Set(['main.ts'])
    for (const file of reached) for (const target of GRAPH.get(file) ?? []) reached.add(target)
    expect(SOURCES.filter((file) => !reached.has(file))).toEqual([])
    expect(TOP).toBe(tierOf('main.ts'))
  })
})

describe('files', () => {
  it('are no barrels', () => {
    const barrels = SOURCES.filter((file) => /(^|\/)index\.ts$/.test(file))
    expect(barrels).toEqual([])
    const hidden = SOURCES.filter((file) => {
      const code = withoutComments(readFileSync(resolve(ROOT, 'src', file), 'utf8')).trim()
      const statements = code.split(/\n(?=\S)/)
      return code !== '' && statements.every((line) => /^(export\b.*\bfrom\b|[}\]])/s.test(line))
    })
    expect(hidden).toEqual([])
  })

  it('leave the environment to the settings', () => {
    const readers = SOURCES.filter((file) => {
      const code = withoutComments(readFileSync(resolve(ROOT, 'src', file), 'utf8'))
      return /\bprocess\s*(\.\s*env\b|\[)|\benv\b[^\n]*from 'node:process'/.test(code)
    })
    expect(readers).toEqual(Object.keys(READS_ENVIRONMENT).sort())
  })

  it('can be read at one sitting', () => {
    const lines = (file: string): number =>
      readFileSync(resolve(ROOT, 'src', file), 'utf8').split('\n').length - 1
    const long = SOURCES.map((file) => `${file}: ${lines(file)}`).filter(
      (line) => Number(line.split(': ')[1]) >= MAX_LINES,
    )
    expect(long).toEqual([])
  })
})

describe.each(['test/acceptance', 'test/abuse'])('the tests in %s', (base) => {
  it('know nothing of the source', () => {
    const folder = existsSync(resolve(ROOT, base)) ? filesBelow(base) : []
    expect(folder.length).toBeGreaterThan(0)
    const wrong = folder.flatMap((file) =>
      importsOf(base, file)
        .filter((target) => /^(\.\.\/)+(src|dist)\//.test(target))
        .map((target) => `${file} imports ${target}`),
    )
    expect(wrong).toEqual([])
  })
})
