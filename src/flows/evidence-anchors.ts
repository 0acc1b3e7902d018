/** The trust anchors of a timestamp, for people who compare them with what authorities publish. */
import { X509Certificate } from 'node:crypto'

export interface Anchor {
  readonly pem: string
  /** Distinguished name. */
  readonly subject: string
  /** SHA-256 of the certificate in hex, pairs with colons between them. */
  readonly fingerprint: string
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g

/** The certificates of a PEM text that has nothing else in it. @throws Error for one that cannot be read */
export function anchorsIn(pem: string): Anchor[] {
  return [...pem.matchAll(CERTIFICATE)].map(([text]) => {
    const { subject, fingerprint256 } = new X509Certificate(text)
    return {
      pem: `${text}\n`,
      subject: subject.split('\n').reverse().join(', '),
      fingerprint: fingerprint256,
    }
  })
}
