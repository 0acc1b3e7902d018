import { printable } from '../client/text.js'
import type { Finding } from '../domain/audit.js'
import type { AuditResult } from '../flows/audit.js'

/** Where the findings of an audit go, each as soon as it is known: they may be very many. */
export interface AuditOutput {
  finding(found: Finding): void
  /** To be called once, after the last finding. */
  end(result: AuditResult): void
}

/** Lines for people, or one JSON object. */
export function createAuditOutput(json: boolean, write: (text: string) => void): AuditOutput {
  return json ? jsonOutput(write) : textOutput(write)
}

function textOutput(write: (text: string) => void): AuditOutput {
  return {
    finding: (found) => write(`${line(found)}\n`),
    end: (result) => write(summary(result)),
  }
}

function line(found: Finding): string {
  const { kind, organization, contentDigest, address, path, rawFileIds, detail, removed } = found
  const words = [
    `${removed ? 'removed: ' : ''}${kind.replaceAll('_', ' ')}: ${detail}`,
    organization === null ? '' : `organization ${JSON.stringify(organization)}`,
    contentDigest === null ? '' : `content ${contentDigest}`,
    path === null && address !== null ? `address ${address}` : '',
    path === null ? '' : `file ${path}`,
    rawFileIds.length === 0 ? '' : `raw files ${rawFileIds.join(' ')}`,
  ]
  return printable(words.filter((word) => word !== '').join(', '))
}

function summary(result: AuditResult): string {
  const { blobs, verified, verifiedBytes, complete, findings, removed, young } = result
  const rest = complete ? '' : '; the time was over before all contents were read'
  const recent =
    young === 0 ? '' : `files that nothing refers to, younger than the grace time: ${young}\n`
  return `blobs: ${blobs}; contents verified: ${verified} (${verifiedBytes} bytes)${rest}
${recent}findings: ${findings}; of them removed: ${removed}\n`
}

function jsonOutput(write: (text: string) => void): AuditOutput {
  let before = '{"findings":['
  return {
    finding: (found) => {
      const { kind, organization, contentDigest, address, path, rawFileIds, ...rest } = found
      const value = {
        kind,
        organization,
        content_digest: contentDigest,
        address,
        path,
        raw_file_ids: rawFileIds,
        ...rest,
      }
      write(`${before}${JSON.stringify(value)}`)
      before = ',\n'
    },
    end: (result) => {
      const { blobs, verified, verifiedBytes, complete, findings, removed, young } = result
      const value = {
        blobs,
        verified,
        verified_bytes: verifiedBytes,
        complete,
        findings,
        removed,
        young,
      }
      const opening = before === ',\n' ? '' : before
      write(`${opening}],"summary":${JSON.stringify(value)}}\n`)
    },
  }
}
