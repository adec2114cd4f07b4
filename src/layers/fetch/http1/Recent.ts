/** What was learned last, by name; the oldest goes when there is too much. */
const namesMax = 1000

export class Recent<A> {
  private readonly values = new Map<string, A>()

  get(name: string): A | undefined {
    return this.values.get(name)
  }

  set(name: string, value: A): void {
    this.values.delete(name)
    if (this.values.size >= namesMax) {
      const oldest = this.values.keys().next()
      if (oldest.done !== true) this.values.delete(oldest.value)
    }
    this.values.set(name, value)
  }
}
