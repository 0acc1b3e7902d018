import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Each file has services of its own; the machine has few cores.
    maxWorkers: 3,
    env: { NODE_NO_WARNINGS: '1' },
  },
})
