/** How targets are taken from the hosts of a run: each host that is open gives as many as the others, as far as it has them. */
import type { FetchDemand } from "../../services/fetch/FetchSource.ts"

/**
 * Takes up to `limit` targets from lanes of different hosts, the first lanes first.
 *
 * @param take takes at most so many from a lane, and answers how many it had; fewer than asked for: it has no more
 */
export const shareOut = <L extends { readonly host: string }>(
  lanes: Iterable<L>,
  { closedHosts, limit }: FetchDemand,
  take: (lane: L, limit: number) => number
): void => {
  let open: Array<L> = []
  for (const lane of lanes) {
    if (closedHosts.has(lane.host)) continue
    open.push(lane)
    if (open.length === limit) break
  }
  for (let left = limit; open.length > 0 && left > 0;) {
    const share = Math.ceil(left / open.length)
    const more: Array<L> = []
    for (const lane of open) {
      const asked = Math.min(share, left)
      const taken = take(lane, asked)
      left -= taken
      if (asked > 0 && taken === asked) more.push(lane)
    }
    open = more
  }
}
