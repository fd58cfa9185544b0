// What the pages do beyond being read: notes on hover, tables that sort and are searched, tabs, attention in large, and
// J and K. Whatever comes from the run is set through textContent.
"use strict"

const el = (tag, className, text) => {
  const node = document.createElement(tag)
  if (className) node.className = className
  if (text !== undefined) node.textContent = text
  return node
}

// One note for the page, beside what it speaks of and inside the window.
const note = el("div", "note")
note.hidden = true
note.setAttribute("role", "tooltip")
document.body.append(note)

function show(anchor, rows) {
  note.replaceChildren(...rows.map(([name, value, kind]) => {
    const line = el("div", kind || "")
    line.append(el("span", "", name))
    if (value !== undefined) line.append(el("span", "", value))
    return line
  }))
  note.hidden = false
  const box = anchor.getBoundingClientRect()
  const own = note.getBoundingClientRect()
  const below = box.bottom + 6
  note.style.left = `${Math.max(8, Math.min(box.left, innerWidth - own.width - 8))}px`
  note.style.top = `${Math.max(4, below + own.height > innerHeight ? box.top - own.height - 6 : below)}px`
}

function hide() {
  note.hidden = true
}

// Marks of a figure say what they are in their labels.
for (const chart of document.querySelectorAll(".chart")) {
  chart.addEventListener("mouseover", (event) => {
    const mark = event.target.closest('[role="graphics-symbol"][aria-label]')
    if (!mark || mark.localName === "g") return hide() // groups are axes and legends
    const pairs = mark.getAttribute("aria-label").split("; ").filter((pair) => !pair.endsWith(": "))
    show(mark, pairs.map((pair) => {
      const at = pair.indexOf(": ")
      return at < 0 ? [pair] : [pair.slice(0, at), pair.slice(at + 2)]
    }))
  })
  chart.addEventListener("mouseleave", hide)
}

// Token strips: hover and focus show a value; one token of a strip is in the tab order, arrows lead to the others.
for (const strips of document.querySelectorAll(".strips")) {
  const label = strips.dataset.label
  for (const text of strips.querySelectorAll(".text")) {
    const tokens = [...text.children]
    const first = tokens.find((token) => token.classList.contains("focus")) || tokens[0]
    tokens.forEach((token, i) => {
      const value = token.dataset.v || "0"
      if (!token.dataset.v) {
        token.setAttribute("role", "img")
        token.setAttribute("aria-label", `${token.textContent}, ${label} 0`)
      }
      token.tabIndex = token === first ? 0 : -1
      const rows = [[token.textContent, undefined, "head-line"], [label, value]]
      token.onmouseenter = token.onfocus = () => show(token, rows)
      token.onmouseleave = token.onblur = hide
      token.onkeydown = (event) => {
        const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tokens.length - 1 }[event.key]
        if (to === undefined || !tokens[to]) return
        event.preventDefault()
        for (const other of tokens) other.tabIndex = -1
        tokens[to].tabIndex = 0
        tokens[to].focus()
      }
    })
  }
}

// What a table is sorted by and searched for stands in the address, so that a link reopens it.
const state = new URLSearchParams(location.hash.slice(1))
function keep(name, value) {
  if (value) state.set(name, value)
  else state.delete(name)
  history.replaceState(null, "", `#${state}`)
}

for (const table of document.querySelectorAll("table[data-sorts]")) {
  const heads = [...table.tHead.rows[0].cells]
  const buttons = heads.map((head, i) => {
    const button = el("button", "", head.textContent)
    button.type = "button"
    button.onclick = () => {
      const turned = head.getAttribute("aria-sort") === (downFirst(table, i) ? "descending" : "ascending")
      sort(table, heads, i, turned)
      keep(`${table.id}.sort`, `${i}${turned ? "r" : ""}`)
    }
    head.replaceChildren(button)
    return button
  })
  const asked = /^(\d+)(r?)$/.exec(state.get(`${table.id}.sort`) || "")
  if (asked && buttons[asked[1]]) sort(table, heads, Number(asked[1]), asked[2] === "r")
}

function key(row, i) {
  return row.cells[i].dataset.by ?? row.cells[i].textContent
}

function isNumber(text) {
  return text !== "" && !Number.isNaN(Number(text))
}

// Where a heading is asked for the first time large numbers come first, but for those that only number the rows.
function downFirst(table, i) {
  return i > 0 && [...table.tBodies[0].rows].some((row) => isNumber(key(row, i)))
}

function sort(table, heads, i, turned) {
  const down = downFirst(table, i) !== turned
  const body = table.tBodies[0]
  const rows = [...body.rows].map((row, at) => ({ row, at, key: key(row, i) }))
  rows.sort((a, b) => {
    const [x, y] = [isNumber(a.key), isNumber(b.key)]
    if (x !== y) return x ? -1 : 1 // what has no number comes last, either way
    const order = x ? Number(a.key) - Number(b.key) : a.key.localeCompare(b.key)
    return (down ? -order : order) || a.at - b.at
  })
  body.append(...rows.map(({ row }) => row))
  for (const head of heads) head.removeAttribute("aria-sort")
  heads[i].setAttribute("aria-sort", down ? "descending" : "ascending")
  for (const head of heads) {
    const button = head.firstElementChild
    button.textContent = button.textContent.replace(/ [↑↓]$/, "")
    if (head === heads[i]) button.textContent += down ? " ↓" : " ↑"
  }
}

for (const table of document.querySelectorAll("table[data-searches]")) {
  const box = el("div", "search")
  const input = el("input")
  input.type = "search"
  input.placeholder = "Search: name, token or number"
  input.setAttribute("aria-label", "Search the table")
  const found = el("span", "quiet")
  found.setAttribute("aria-live", "polite")
  box.append(input, found)
  table.closest(".table").before(box)
  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean)
    const rows = [...table.tBodies[0].rows]
    for (const row of rows) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase()
      row.hidden = !words.every((word) => text.includes(word))
    }
    found.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`
  }
  input.oninput = () => {
    search()
    keep(`${table.id}.q`, input.value)
  }
  input.value = state.get(`${table.id}.q`) || ""
  search()
}

// Sections that stand one below the other become tabs.
for (const tabs of document.querySelectorAll(".tabs")) {
  const parts = [...tabs.children]
  const list = el("div", "tab-list")
  list.setAttribute("role", "tablist")
  const choose = (at, save) => {
    parts.forEach((part, i) => {
      part.hidden = i !== at
      list.children[i].setAttribute("aria-selected", String(i === at))
      list.children[i].tabIndex = i === at ? 0 : -1
    })
    if (save) keep(tabs.dataset.tabs, at ? String(at) : "")
  }
  parts.forEach((part, i) => {
    const button = el("button", "", part.firstElementChild.textContent)
    button.type = "button"
    button.setAttribute("role", "tab")
    button.setAttribute("aria-controls", part.id)
    part.setAttribute("role", "tabpanel")
    button.onclick = () => choose(i, true)
    button.onkeydown = (event) => {
      const to = { ArrowRight: (i + 1) % parts.length, ArrowLeft: (i + parts.length - 1) % parts.length }[event.key]
      if (to === undefined) return
      choose(to, true)
      list.children[to].focus()
    }
    list.append(button)
  })
  tabs.classList.add("live")
  tabs.prepend(list)
  const asked = Number(state.get(tabs.dataset.tabs))
  choose(parts[asked] ? asked : 0, false)
}

// Attention: any head in large, each of its cells in words. A weight is the square of the picture's opacity.
for (const patterns of document.querySelectorAll(".patterns")) {
  const { queries, keys } = JSON.parse(patterns.querySelector("script").textContent)
  const causal = patterns.dataset.causal === "1"
  const large = el("img", "large")
  const readout = el("div", "readout")
  readout.setAttribute("aria-live", "polite")
  const box = el("div")
  box.append(large, readout)
  patterns.append(box)
  large.tabIndex = 0
  large.setAttribute("role", "application")
  let weights = null
  let cell = [queries.length - 1, 0]
  const look = () => {
    const [query, to] = cell
    if (!weights || (causal && to > query)) return
    const weight = (weights[(query * keys.length + to) * 4 + 3] / 255) ** 2
    readout.replaceChildren(
      el("code", "", queries[query]), el("span", "quiet", ` ${query} looks at `), el("code", "", keys[to]),
      el("span", "quiet", ` ${to}: `), el("strong", "", weight.toFixed(2))
    )
  }
  const choose = (image, button) => {
    for (const other of patterns.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button))
    large.src = image.src
    const name = image.dataset.head
    large.alt = `attention of ${name}`
    large.setAttribute("aria-label", `attention of ${name}: arrows move from cell to cell`)
    const canvas = el("canvas")
    canvas.width = keys.length
    canvas.height = queries.length
    const context = canvas.getContext("2d", { willReadFrequently: true })
    context.drawImage(image, 0, 0)
    weights = context.getImageData(0, 0, canvas.width, canvas.height).data
    const [first, ...rest] = name
    readout.replaceChildren(el("span", "quiet", `${first.toUpperCase()}${rest.join("")}. Rows are queries, columns the keys they look at. Point at a cell.`))
  }
  const images = [...patterns.querySelectorAll(".head img")]
  const ready = images.map((image) => {
    const button = el("button")
    button.type = "button"
    image.before(button)
    button.append(image)
    button.onclick = () => choose(image, button)
    return image.decode().then(() => button)
  })
  if (ready.length) ready[0].then((button) => choose(images[0], button))
  large.onmousemove = (event) => {
    const box = large.getBoundingClientRect()
    const at = (x, length, n) => Math.max(0, Math.min(n - 1, Math.floor((x / length) * n)))
    cell = [at(event.clientY - box.top, box.height, queries.length), at(event.clientX - box.left, box.width, keys.length)]
    look()
  }
  large.onkeydown = (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key]
    if (!move) return
    event.preventDefault()
    const query = Math.max(0, Math.min(queries.length - 1, cell[0] + move[0]))
    cell = [query, Math.max(0, Math.min(causal ? query : keys.length - 1, cell[1] + move[1]))]
    look()
  }
}

// J leads to the next page, K to the one before.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return
  const link = document.querySelector({ j: 'a[rel="next"]', k: 'a[rel="prev"]' }[event.key.toLowerCase()] || "_")
  if (link) link.click()
})
