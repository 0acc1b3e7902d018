/** Where in the verification of a token it was refused, in the order of the checks. */
export type TimestampStage = 'format' | 'imprint' | 'signature' | 'certificate'

/**
 * Every refusal and its stage: an error of one stage means that those before it have passed. Null:
 * it is not about a token, but about the settings, the transport or the answer around it.
 */
export const TIMESTAMP_STAGES = {
  // Settings
  bad_anchors: null,
  bad_url: null,
  // Transport (RFC 3161, section 3.4)
  unreachable: null,
  timed_out: null,
  aborted: null,
  redirected: null,
  wrong_http_status: null,
  wrong_media_type: null,
  answer_too_long: null,
  // The answer around the token (section 2.4.2)
  malformed_response: null,
  not_granted: null,
  wrong_nonce: null,
  clock_skew: null,
  // Bytes and structure (RFC 5652 and section 2.4.2)
  malformed_der: 'format',
  malformed_token: 'format',
  wrong_content_type: 'format',
  not_one_signer: 'format',
  unknown_token_extension: 'format',
  // What it is for
  wrong_imprint_algorithm: 'imprint',
  wrong_imprint: 'imprint',
  // Who signed it, and what (RFC 5652, section 5; RFC 5035)
  unknown_algorithm: 'signature',
  missing_signer_certificate: 'signature',
  weak_signer_key: 'signature',
  missing_attribute: 'signature',
  repeated_attribute: 'signature',
  wrong_content_type_attribute: 'signature',
  wrong_message_digest: 'signature',
  missing_ess_cert_id: 'signature',
  wrong_ess_cert_id: 'signature',
  wrong_signature: 'signature',
  // Whether the signer may (section 2.3; RFC 5280, section 6.1)
  wrong_extended_key_usage: 'certificate',
  wrong_key_usage: 'certificate',
  wrong_tsa_name: 'certificate',
  certificate_not_yet_valid: 'certificate',
  certificate_expired: 'certificate',
  unknown_critical_extension: 'certificate',
  untrusted: 'certificate',
  wrong_certificate_signature: 'certificate',
  weak_certificate: 'certificate',
  not_a_ca: 'certificate',
  path_too_long: 'certificate',
  wrong_ess_path: 'certificate',
  stray_certificate: 'certificate',
} as const satisfies Record<string, TimestampStage | null>

/** Every way in which a timestamp, or the way to one, is refused. */
export type TimestampErrorCode = keyof typeof TIMESTAMP_STAGES

/** A timestamp (RFC 3161) that is refused, or that was not to be had. `message` is for people. */
export class TimestampError extends Error {
  readonly code: TimestampErrorCode
  /** Null: not of a token, see `TimestampStage`. */
  readonly stage: TimestampStage | null

  constructor(code: TimestampErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'TimestampError'
    this.code = code
    this.stage = TIMESTAMP_STAGES[code]
  }
}
