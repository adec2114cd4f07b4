interface Payload {
  readonly n: number
}

export interface Contender {
  readonly setup: () => Promise<unknown>
  readonly open?: () => Promise<unknown>
  readonly bulk: (payloads: ReadonlyArray<Payload>) => Promise<unknown>
  readonly one: (payload: Payload) => Promise<unknown>
  readonly start: (task: (payload: Payload) => unknown, concurrency?: number) => Promise<unknown>
  readonly listen?: (task: (payload: Payload) => unknown) => Promise<unknown>
  readonly stop: () => Promise<unknown>
}

export const peers: Readonly<Record<string, (url: string) => Promise<Contender>>>
