import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // For what hangs, and not for what is slow: on a machine that others use too, tests take long.
    testTimeout: 180_000,
    hookTimeout: 240_000,
    // Each file has services of its own; the machine has few cores.
    maxWorkers: 3,
    env: { NODE_NO_WARNINGS: '1' },
  },
})
