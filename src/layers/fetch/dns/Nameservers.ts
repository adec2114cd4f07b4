/**
 * The name servers of this machine, and the order and times in which they are asked for one name.
 */
import type { ResolvConf } from "./ResolvConf.ts"

/** When resolv.conf names no timeout: so long in the first round, twice that in the second, and so on. */
const firstWaitMillis = 1000

/** When resolv.conf names neither a timeout nor a number of attempts: a name is asked for so long, if its asker has the patience. */
const patienceMillis = 30_000

/** glibc's, where only a timeout is named. */
const attemptsUsual = 2

/** One server that is asked. */
export interface Try {
  readonly server: string
  /** How long it is waited for before the next is asked; what it says after that is heard all the same. */
  readonly waitMillis: number
}

export class Nameservers {
  readonly conf: ResolvConf
  private first = 0

  constructor(conf: ResolvConf) {
    this.conf = conf
  }

  /** Whom to ask for a name, in order. */
  tries(): ReadonlyArray<Try> {
    const { rotates, servers, timeoutMillis } = this.conf
    if (rotates) this.first = (this.first + 1) % servers.length
    const round = [...servers.slice(this.first), ...servers.slice(0, this.first)]
    const tries: Array<Try> = []
    for (let n = 0, sumMillis = 0; this.goesOn(n, sumMillis); n++) {
      const waitMillis = timeoutMillis ?? firstWaitMillis * 2 ** n
      tries.push(...round.map((server) => ({ server, waitMillis })))
      sumMillis += waitMillis * round.length
    }
    return tries
  }

  /** This one has answered where an earlier one had not: the next name is asked of it first. */
  prefer(server: string): void {
    this.first = Math.max(0, this.conf.servers.indexOf(server))
  }

  private goesOn(rounds: number, sumMillis: number): boolean {
    const { attempts, timeoutMillis } = this.conf
    if (attempts === undefined && timeoutMillis === undefined) return sumMillis < patienceMillis
    return rounds < (attempts ?? attemptsUsual)
  }
}
