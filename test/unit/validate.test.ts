import { describe, expect, it } from 'vitest'
import { HttpProblem } from '../../src/api/problems.js'
import * as schemas from '../../src/api/schemas.js'
import { validate } from '../../src/api/validate.js'

interface Refused {
  readonly value: string
  readonly detail?: readonly { readonly loc: readonly (string | number)[]; readonly type: string }[]
}

/** The body of the answer. */
function refusalOf(schema: Parameters<typeof validate>[0], value: unknown): Refused {
  try {
    validate(schema, value, 'body')
  } catch (error) {
    if (error instanceof HttpProblem && error.status === 422) return error.body as Refused
    throw error
  }
  return expect.fail('accepted')
}

const ones = (count: number): number[] => new Array<number>(count).fill(1)
const file = { name: 'a', content: '', tags: ['a'] }

describe('a value that is wrong a million times', () => {
  it.each([
    ['files', schemas.rawUpload, { files: ones(1e6) }, 20],
    [
      'files of wrong tags',
      schemas.rawUpload,
      { files: Array(5000).fill({ ...file, tags: ones(400) }) },
      20,
    ],
    ['MIME types', schemas.rawData, { mime_types: ones(1e6) }, 22],
    [
      'environment',
      schemas.boefjeMeta,
      { environment: Object.fromEntries(ones(1e5).entries()) },
      26,
    ],
  ])('is told of with its first problems: %s', (_, schema, value, most) => {
    const { detail = [], value: text } = refusalOf(schema, value)
    expect(detail.length).toBeGreaterThanOrEqual(20)
    expect(detail.length).toBeLessThanOrEqual(most)
    expect(text.length).toBeLessThan(3000)
  })

  it('is not looked at when it is too long anyway', () => {
    const tags = { files: [{ ...file, tags: ones(1e6) }] }
    expect(refusalOf(schemas.rawUpload, tags)).toEqual({
      value: 'body.files.0.tags: A file has at most 1000 tags',
    })
  })
})

describe('a list', () => {
  it('is taken as it is, with what its items become', () => {
    const files = Array.from({ length: 2000 }, (_, i) => ({ ...file, name: `${i}` }))
    expect(validate(schemas.rawUpload, { files }, 'body').files).toEqual(files)
    const { name, content } = file
    expect(validate(schemas.rawUpload, { files: [{ name, content }] }, 'body').files).toEqual([
      { name, content, tags: [] },
    ])
    expect(validate(schemas.rawUpload, {}, 'body')).toEqual({ status: 'COMPLETED', files: [] })
  })

  it('is refused with the place of each problem', () => {
    expect(
      refusalOf(schemas.rawUpload, {
        files: [{ name: 'a', content: 1 }, {}, { ...file, tags: [1] }, 2],
      }).detail,
    ).toMatchObject([
      { loc: ['body', 'files', 0, 'content'], type: 'string' },
      { loc: ['body', 'files', 1, 'name'], type: 'missing' },
      { loc: ['body', 'files', 1, 'content'], type: 'missing' },
      { loc: ['body', 'files', 2, 'tags', 0], type: 'string' },
      { loc: ['body', 'files', 3], type: 'object' },
    ])
    expect(refusalOf(schemas.rawUpload, { files: 'x' }).detail).toMatchObject([
      { loc: ['body', 'files'], type: 'array' },
    ])
    expect(refusalOf(schemas.tags, ['a', 'b'.repeat(65)])).toEqual({
      value: 'body.1: The text is longer than 64 characters',
    })
  })
})
