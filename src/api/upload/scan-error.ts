/** Every way in which the scanner refuses a body, as a closed set. */
export type ScanErrorCode =
  | 'malformed_base64'
  | 'invalid_string'
  | 'unterminated_string'
  | 'skeleton_too_long'
  | 'not_utf8'

const MESSAGES: Readonly<Record<ScanErrorCode, string>> = {
  malformed_base64: 'Not valid base64',
  invalid_string: 'A string holds a control character or a malformed escape',
  unterminated_string: 'The body ends inside a string',
  skeleton_too_long: 'The body without its contents is too long',
  not_utf8: 'The body is not valid UTF-8',
}

/** A body that cannot be taken. The message quotes nothing of the body. */
export class ScanError extends Error {
  readonly code: ScanErrorCode
  /** Position in `files` of the element whose content is at fault; undefined when it is elsewhere. */
  readonly file: number | undefined

  constructor(code: ScanErrorCode, file?: number) {
    super(MESSAGES[code])
    this.name = 'ScanError'
    this.code = code
    this.file = file
  }
}
