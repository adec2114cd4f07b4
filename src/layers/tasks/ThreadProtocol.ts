/** What the pool sends to a thread. */
export type ToThread =
  | {
    readonly _tag: "Run"
    readonly id: number
    readonly module: string
    readonly name: string
    readonly input: unknown
  }
  | { readonly _tag: "Cancel"; readonly id: number }

/** How a thread says that a job ended. */
export type FromThread =
  | { readonly _tag: "Succeeded"; readonly id: number; readonly output: unknown }
  | { readonly _tag: "Failed"; readonly id: number; readonly error: unknown }
  | { readonly _tag: "Died"; readonly id: number; readonly detail: string }
  | { readonly _tag: "Interrupted"; readonly id: number }
