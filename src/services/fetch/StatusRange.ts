/** HTTP statuses, both ends included: `404`, or `5xx` for the whole class. */
export interface StatusRange {
  readonly least: number
  readonly most: number
}

/** Reads `404` or `5xx`; `undefined` for what is neither. */
export const parse = (text: string): StatusRange | undefined => {
  if (/^[1-5]\d\d$/.test(text)) return { least: Number(text), most: Number(text) }
  const [, hundreds] = /^([1-5])xx$/i.exec(text) ?? []
  return hundreds === undefined ? undefined : { least: Number(hundreds) * 100, most: Number(hundreds) * 100 + 99 }
}

/** As it is read. */
export const text = ({ least, most }: StatusRange): string => least === most ? `${least}` : `${least / 100}xx`

/** Whether a status is among them. */
export const includes = ({ least, most }: StatusRange, status: number): boolean => status >= least && status <= most
