import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** The soak takes longest in the full form: it begins first, and the others run beside it. */
class SoakFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const isSoak = ({ moduleId }: TestSpecification): boolean => moduleId.endsWith('soak.test.ts')
    return [...sorted.filter(isSoak), ...sorted.filter((file) => !isSoak(file))]
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    sequence: { sequencer: SoakFirst },
    // For what hangs, and not for what is slow: on a machine that others use too, tests take long.
    testTimeout: process.env.BYTES_FAULTS === 'full' ? 1_800_000 : 180_000,
    hookTimeout: 240_000,
    // Each file has services of its own; the machine has few cores.
    maxWorkers: 3,
    env: { NODE_NO_WARNINGS: '1' },
  },
})
