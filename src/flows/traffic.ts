/** Counts the requests that are under way in this process. */
export class Traffic {
  #underWay = 0

  /** More requests than so many are much. */
  readonly #much: number

  /** @param much requests under way that background work goes on beside */
  constructor(much: number) {
    this.#much = much
  }

  begin(): void {
    this.#underWay += 1
  }

  end(): void {
    this.#underWay -= 1
  }

  /** Whether background work should give way. */
  get isMuch(): boolean {
    return this.#underWay > this.#much
  }
}
