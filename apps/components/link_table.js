// A table: numbers aligned, bars beside numbers, links that stay inside the session, headings that sort.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root")
  const table = el("table")
  if (data.caption) table.append(el("caption", "", data.caption))
  const head = el("tr")
  data.columns.forEach((column) => head.append(heading(column, data, (name) => setTriggerValue("sort", name))))
  const thead = el("thead")
  thead.append(head)
  const body = el("tbody")
  data.rows.forEach((row, index) => {
    body.append(rowNode(row, data.columns, (column) => setTriggerValue("open", [data.ids[index], column])))
  })
  table.append(thead, body)
  root.style.maxHeight = data.height ? `${data.height}px` : "none"
  root.replaceChildren(table)
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

function rowNode(row, columns, follow) {
  const line = el("tr")
  row.forEach((value, i) => {
    const column = columns[i]
    const cell = el("td", column.kind)
    const { text, href, bar, hue } = value
    const shown = href ? sessionLink(el("a"), href, () => follow(i)) : el("span")
    if (column.kind === "token") fillToken(shown, text)
    else shown.textContent = text
    if (column.kind === "text" || column.kind === "code") cell.title = text
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
