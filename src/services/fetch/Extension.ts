/**
 * What the name of a saved body ends with: what its URL says, else what its Content-Type does.
 */

const byType: ReadonlyMap<string, string> = new Map(Object.entries({
  "application/atom+xml": ".xml",
  "application/epub+zip": ".epub",
  "application/geo+json": ".geojson",
  "application/gzip": ".gz",
  "application/javascript": ".js",
  "application/json": ".json",
  "application/ld+json": ".jsonld",
  "application/msword": ".doc",
  "application/pdf": ".pdf",
  "application/rss+xml": ".xml",
  "application/rtf": ".rtf",
  "application/vnd.ms-excel": ".xls",
  "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
  "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
  "application/wasm": ".wasm",
  "application/x-ndjson": ".ndjson",
  "application/x-tar": ".tar",
  "application/xhtml+xml": ".xhtml",
  "application/xml": ".xml",
  "application/yaml": ".yaml",
  "application/zip": ".zip",
  "application/zstd": ".zst",
  "audio/mpeg": ".mp3",
  "audio/ogg": ".ogg",
  "audio/wav": ".wav",
  "font/woff": ".woff",
  "font/woff2": ".woff2",
  "image/avif": ".avif",
  "image/gif": ".gif",
  "image/jpeg": ".jpg",
  "image/png": ".png",
  "image/svg+xml": ".svg",
  "image/tiff": ".tif",
  "image/vnd.microsoft.icon": ".ico",
  "image/webp": ".webp",
  "image/x-icon": ".ico",
  "text/calendar": ".ics",
  "text/css": ".css",
  "text/csv": ".csv",
  "text/html": ".html",
  "text/javascript": ".js",
  "text/markdown": ".md",
  "text/plain": ".txt",
  "text/tab-separated-values": ".tsv",
  "text/xml": ".xml",
  "video/mp4": ".mp4",
  "video/mpeg": ".mpeg",
  "video/webm": ".webm"
}))

/** A few letters and digits behind the last dot; digits alone are a version. */
const written = /\.(?=\d*[A-Za-z])[A-Za-z0-9]{1,10}$/

/** What is run and not what it gives. */
const programs: ReadonlySet<string> = new Set([".asp", ".aspx", ".cgi", ".do", ".jsp", ".php"])

/** As it stands at the end of a path or a name; empty when there is none. */
export const writtenIn = (path: string): string => written.exec(path)?.[0] ?? ""

/** With its dot and in small letters; empty when neither says one. */
export const of = (path: string, contentType: string | undefined): string => {
  const own = writtenIn(path).toLowerCase()
  if (own !== "" && !programs.has(own)) return own
  const type = contentType?.split(";", 1)[0]?.trim().toLowerCase()
  return (type === undefined ? undefined : byType.get(type)) ?? own
}
