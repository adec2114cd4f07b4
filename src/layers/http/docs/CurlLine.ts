/** The document's example of a request as a line for the shell. */

/** What the line needs to know of an operation. */
export interface Request {
  readonly verb: string
  /** With its parameters in braces, as in the document. */
  readonly path: string
  readonly parameters: ReadonlyArray<{ readonly name: string; readonly in: string; readonly example: string }>
  readonly body: unknown
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** A command to paste; `base` is where the server is, and the token is taken from the shell's environment where it needs one. */
export const of = (base: string, request: Request, needsToken: boolean): string => {
  const named = (where: string) => request.parameters.filter((parameter) => parameter.in === where)
  const path = named("path").reduce(
    (url, { example, name }) => url.replace(`{${name}}`, () => encodeURIComponent(example)),
    request.path
  )
  const headers = [
    "content-type: application/json",
    ...named("header").map(({ example, name }) => `${name}: ${example}`)
  ]
  return [
    `curl -sS${request.verb === "post" ? "" : ` -X ${request.verb.toUpperCase()}`} ${quoted(base + path)}`,
    ...headers.map((header) => `-H ${quoted(header)}`),
    // In double quotes, so that the shell puts the token in.
    ...(needsToken ? [`-H "authorization: Bearer $SLUICE_API_TOKEN"`] : []),
    `-d ${quoted(JSON.stringify(request.body))}`
  ].join(" ")
}
