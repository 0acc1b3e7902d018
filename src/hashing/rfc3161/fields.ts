import { type DerNode, oidOf, TAG } from '../der.js'

/** It is DER, but not of the structure that it should have. */
export class StructureError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'StructureError'
  }
}

/** Takes the members of a SEQUENCE one after the other; none may be left over. */
export class Fields {
  readonly #name: string
  readonly #nodes: readonly DerNode[]
  #next = 0

  /**
   * @param name of the SEQUENCE, for messages
   * @throws StructureError when it is none
   */
  constructor(node: DerNode | undefined, name: string, tag: number = TAG.sequence) {
    if (node?.tag !== tag) throw new StructureError(`${name} is missing, or of another type`)
    this.#name = name
    this.#nodes = node.children
  }

  /** @throws StructureError when the next member is of another type */
  take(tag: number, name: string): DerNode {
    const node = this.optional(tag)
    if (node === undefined) {
      throw new StructureError(`${name} of ${this.#name} is missing, or of another type`)
    }
    return node
  }

  /** The next member if it is of this type. */
  optional(tag: number): DerNode | undefined {
    const node = this.#nodes[this.#next]
    if (node?.tag !== tag) return undefined
    this.#next += 1
    return node
  }

  /** The next member, of whatever type. @throws StructureError when there is none */
  any(name: string): DerNode {
    const node = this.#nodes[this.#next]
    if (node === undefined) throw new StructureError(`${name} of ${this.#name} is missing`)
    this.#next += 1
    return node
  }

  /** @throws StructureError when the next member is no OBJECT IDENTIFIER */
  oid(name: string): string {
    return oidOf(this.take(TAG.oid, name)) ?? ''
  }

  /** The only member. @throws StructureError when there are others, or it is of another type */
  only(tag: number, name: string): DerNode {
    const node = this.take(tag, name)
    this.end()
    return node
  }

  /** @throws StructureError when there is one more member */
  end(): void {
    if (this.#next < this.#nodes.length) {
      throw new StructureError(`${this.#name} has a member that has no place there`)
    }
  }
}
