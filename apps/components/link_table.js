// A table: numbers aligned, bars beside numbers, links that stay inside the session, headings that sort; previews of
// rows, and rows that the keyboard goes through, without a rerun.

const PATIENCE_MS = 120 // a pointer on its way elsewhere shows no preview
const listening = new WeakMap() // of each table's root what listens to the page's keys
const turned = new WeakMap() // and the row that is wanted once the next page is there: its first or its last

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root")
  const held = rowsOf(root).indexOf(root.getRootNode().activeElement?.closest?.("tbody tr"))
  const table = el("table")
  if (data.caption) table.append(el("caption", "", data.caption))
  const head = el("tr")
  data.columns.forEach((column) => head.append(heading(column, data, (name) => setTriggerValue("sort", name))))
  const thead = el("thead")
  thead.append(head)
  const body = el("tbody")
  const note = noteOf(root)
  note.hidden = true
  data.rows.forEach((row, index) => {
    const preview = data.previews[index]
    const follow = (column) => setTriggerValue("open", [data.ids[index], column])
    const line = rowNode(row, data.columns, follow, preview)
    if (preview) previewed(line, note, preview)
    body.append(line)
  })
  table.append(thead, body)
  root.style.maxHeight = data.height ? `${data.height}px` : "none"
  root.replaceChildren(table, note)
  listen(root, data.keys, (way) => {
    turned.set(root, way)
    setTriggerValue("turn", way)
  })
  const wanted = turned.get(root)
  turned.delete(root)
  if (wanted) focusRow(rowsOf(root).at(wanted > 0 ? 0 : -1))
  else if (data.keys && held >= 0) focusRow(rowsOf(root)[held])
  return () => {
    listen(root, null)
    note.hidden = true
  }
}

function rowsOf(root) {
  return [...root.querySelectorAll("tbody tr")]
}

function focusRow(row) {
  const link = row?.querySelector("a")
  if (!link) return
  row.scrollIntoView({ block: "nearest" }) // first: its preview shows beside where it then is
  link.focus({ preventScroll: true })
}

// The page's keys, but not where somebody types.
function listen(root, keys, turn) {
  const before = listening.get(root)
  if (before) document.removeEventListener("keydown", before)
  listening.delete(root)
  if (!keys) return
  const heard = (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented) return
    const target = event.composedPath()[0]
    if (target.closest?.("input, textarea, select, [contenteditable=true], [role=dialog], [role=listbox]")) return
    if (event.key === "/" && keys.search) document.querySelector(`.st-key-${keys.search} input`)?.focus()
    else if (event.key === "j" || event.key === "k") step(root, keys, event.key === "j" ? 1 : -1, turn)
    else return
    event.preventDefault()
  }
  listening.set(root, heard)
  document.addEventListener("keydown", heard)
}

function step(root, keys, way, turn) {
  const rows = rowsOf(root)
  const at = rows.indexOf(root.getRootNode().activeElement?.closest?.("tbody tr"))
  const next = at < 0 ? (way > 0 ? 0 : -1) : at + way
  if (next >= 0 && next < rows.length) focusRow(rows[next])
  else if (at >= 0 && (way > 0 ? keys.after : keys.before)) turn(way)
}

function previewed(line, note, preview) {
  let waiting = null
  const show = () => showPreview(note, line, preview)
  const hide = () => {
    clearTimeout(waiting)
    note.hidden = true
  }
  line.onmouseenter = () => { waiting = setTimeout(show, PATIENCE_MS) }
  line.onmouseleave = hide
  line.addEventListener("focusin", show)
  line.addEventListener("focusout", hide)
}

function showPreview(note, line, preview) {
  const text = el("div", "preview-text")
  preview.tokens.forEach((token, i) => {
    const node = el("span", "preview-token" + (i === preview.focus ? " focus" : ""))
    fillToken(node, token)
    if (preview.shares[i] > 0) node.style.setProperty("--a", `${8 + 0.6 * preview.shares[i]}%`)
    text.append(node)
  })
  showNote(note, line, [])
  note.replaceChildren(el("div", "preview-title", preview.title), text)
  const box = line.getBoundingClientRect()
  const own = note.getBoundingClientRect()
  const beside = line.children[1]?.getBoundingClientRect().left ?? box.left
  note.style.left = `${Math.max(8, Math.min(beside, window.innerWidth - own.width - 8))}px`
  note.style.top = `${box.bottom + own.height + 4 > window.innerHeight ? box.top - own.height - 4 : box.bottom + 4}px`
}

function heading(column, data, sort) {
  const cell = el("th", column.kind)
  cell.scope = "col"
  if (column.help) cell.title = column.help
  if (!column.sort) {
    cell.textContent = column.label
    return cell
  }
  const sorted = data.sorted && data.sorted[0] === column.sort
  const button = el("button", sorted ? "sorted" : "", column.label)
  button.type = "button"
  if (sorted) {
    cell.setAttribute("aria-sort", data.sorted[1] ? "ascending" : "descending")
    button.append(el("span", "arrow", data.sorted[1] ? " ↑" : " ↓"))
  }
  button.onclick = () => sort(column.sort)
  cell.append(button)
  return cell
}

function rowNode(row, columns, follow, preview) {
  const line = el("tr")
  row.forEach((value, i) => {
    const column = columns[i]
    const cell = el("td", column.kind)
    const { text, href, bar, hue } = value
    const shown = href ? sessionLink(el("a"), href, () => follow(i)) : el("span")
    if (column.kind === "token") fillToken(shown, text)
    else shown.textContent = text
    if (!preview && (column.kind === "text" || column.kind === "code")) cell.title = text
    if (hue && bar === undefined) shown.classList.add(hue)
    if (column.kind === "bar-number") cell.append(gauge(bar, hue, shown))
    else cell.append(shown)
    line.append(cell)
  })
  return line
}

function gauge(bar, hue, shown) {
  const box = el("div", "gauge")
  const track = el("span", "track")
  const ink = el("span", "ink " + (hue || ""))
  ink.style.width = `${Math.max(0, Math.min(1, bar ?? 0)) * 100}%`
  track.append(ink)
  box.append(track, shown)
  return box
}
