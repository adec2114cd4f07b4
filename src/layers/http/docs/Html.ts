/** The frame of the pages: their style, their one script, and what may be loaded, which is nothing from elsewhere. */
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { createHash } from "node:crypto"

/** Text as HTML. */
export const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\"", "&quot;")

/** Text in which back quotes mark code. */
export const prose = (value: string): string => escape(value).replaceAll(/`([^`]+)`/g, "<code>$1</code>")

const style = `
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent);--soft:color-mix(in srgb,currentColor 5%,transparent);
  --accent:light-dark(#0550ae,#79c0ff);--paper:Canvas}
*{box-sizing:border-box}
html{scroll-padding-top:1rem}
body{font:16px/1.55 system-ui,sans-serif;margin:0;overflow-wrap:break-word}
main{max-width:58rem;padding:1.5rem}
.page{margin:0 auto}
h1,h2,h3{line-height:1.25}
h2{margin:2.5rem 0 .5rem;font-size:1.5rem}
h3{margin:1rem 0 .5rem;font-size:1.15rem}
h3 code{font-size:1rem}
code,pre{font:0.875em/1.5 ui-monospace,monospace}
code{overflow-wrap:anywhere}
pre{overflow:auto;max-height:36rem;margin:.5rem 0;padding:.75rem;border:1px solid var(--line);border-radius:6px;background:var(--soft);
  tab-size:2;scroll-margin-top:4rem}
section.item{border-top:1px solid var(--line);padding:.25rem 0 1rem}
a{color:var(--accent)}
.verb{font-weight:700;display:inline-block;min-width:3rem}
li code .verb{min-width:0}
.muted{opacity:.75}
table{border-collapse:collapse;width:100%;margin:.75rem 0}
td,th{text-align:left;vertical-align:top;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--line)}
td:first-child,th:first-child{width:14rem}
.answers td:first-child,.answers th:first-child{width:4rem}
.answers td:last-child,.answers th:last-child{width:20rem}
th{font-weight:600}
td p{margin:0}
.curl{white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:.5rem 0}
summary{cursor:pointer;padding:.15rem 0}
nav{padding:1rem 1.25rem;border-right:1px solid var(--line);font-size:.9rem}
nav h2{font-size:.8rem;text-transform:uppercase;letter-spacing:.05em;margin:1rem 0 .25rem}
nav h2 a{color:inherit}
nav ul{padding:0;margin:0}
nav li{list-style:none}
nav li a{display:flex;align-items:baseline;padding:.15rem 0;text-decoration:none;color:inherit}
nav a:hover,nav a:focus-visible{text-decoration:underline}
nav .top{font-weight:700;color:inherit;text-decoration:none}
nav .verb{flex:0 0 2.75rem;min-width:0;font-size:.75rem;opacity:.75}
.search{display:flex;gap:.5rem;align-items:center;margin:.75rem 0}
.search input{font:inherit;flex:1;min-width:0;padding:.35rem .6rem;border:1px solid var(--line);border-radius:6px;background:var(--soft);
  color:inherit}
.up{position:fixed;right:1rem;bottom:1rem;padding:.35rem .7rem;border:1px solid var(--line);border-radius:6px;background:var(--paper);
  text-decoration:none}
[hidden]{display:none!important}
@media(min-width:60rem){
  body.docs{display:grid;grid-template-columns:19rem minmax(0,1fr)}
  nav{position:sticky;top:0;height:100vh;overflow:auto}
  nav details>summary{display:none}
  .up{display:none}
  main{padding:1.5rem 2.5rem}
}
@media(max-width:60rem){
  nav{border-right:0;border-bottom:1px solid var(--line);position:sticky;top:0;background:var(--paper);z-index:1;padding:.5rem 1rem;
    max-height:80vh;overflow:auto}
  html{scroll-padding-top:7rem}
  .search{margin:.35rem 0}
}
@media(max-width:40rem){
  main{padding:1rem}
  table,tbody,tr,td{display:block;width:100%}
  td:first-child,.answers td{width:100%}
  .answers td:first-child{width:auto}
  .answers tr{display:flex;flex-wrap:wrap;gap:0 .75rem}
  .answers td:nth-child(2){flex:1}
  .answers td:last-child{width:100%}
  th{display:none}
  tr{border-bottom:1px solid var(--line);padding:.4rem 0}
  td{border:0;padding:.05rem 0}
  td:empty{display:none}
  pre{max-height:24rem;padding:.5rem}
}
`

/**
 * Finds words in the page, without asking anybody: what does not hold all of them is hidden, and so is a heading without anything below it.
 * On a narrow screen the list of routes begins folded.
 */
const script = `(() => {
const box = document.querySelector("input[type=search]")
const found = document.querySelector("#found")
const list = document.querySelector("nav details")
const linkTo = ({ id }) => document.querySelector('nav a[href="#' + id + '"]')
const items = [...document.querySelectorAll("[data-find]")].map((item) => [item, item.textContent.toLowerCase(), linkTo(item)])
const parts = document.querySelectorAll("[data-part]")
const groups = document.querySelectorAll("nav [data-group]")
if (innerWidth < 960) list.open = false
const look = () => {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean)
  let count = 0
  for (const [item, text, link] of items) {
    const isHit = words.every((word) => text.includes(word))
    item.hidden = !isHit
    if (link) link.parentElement.hidden = !isHit
    if (isHit) count += 1
  }
  for (const part of parts) part.hidden = words.length > 0 && !part.querySelector("[data-find]:not([hidden])")
  for (const group of groups) group.hidden = words.length > 0 && !group.querySelector("li:not([hidden])")
  found.textContent = words.length === 0 ? "" : count + " found"
  if (words.length > 0) list.open = innerWidth >= 960
}
box.addEventListener("input", look)
list.addEventListener("click", (event) => { if (event.target.closest("a") && innerWidth < 960) list.open = false })
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== box) { event.preventDefault(); box.focus() }
  if (event.key === "Escape" && document.activeElement === box) { box.value = ""; look(); box.blur() }
})
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)))
  if (!target || !target.closest("[hidden]")) return
  box.value = ""
  look()
  target.scrollIntoView()
}
addEventListener("hashchange", unfold)
box.value = new URLSearchParams(location.search).get("q") ?? ""
look()
})()`

const hashOf = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`

const policy = `default-src 'none'; style-src ${hashOf(style)}; script-src ${
  hashOf(script)
}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`

/** A whole page; what stands in its body, of this class. */
export const html = (title: string, kind: "docs" | "page", body: string): string =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
  `<title>${escape(title)}</title><style>${style}</style></head><body class="${kind}" id="top">${body}` +
  `${kind === "docs" ? `<script>${script}</script>` : ""}</body></html>`

/** A page as an answer. */
export const page = (text: string): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(text, {
    contentType: "text/html; charset=utf-8",
    headers: {
      "content-security-policy": policy,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer"
    }
  })
