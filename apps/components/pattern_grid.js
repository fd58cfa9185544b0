// Attention patterns: every head small, one head large. Hover and arrows read a cell, a click locks its query token.
// Queries look at keys: at the same tokens, before them if causal; or at those of a source.

const drawn = new WeakMap()
const THUMB = 66

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root")
  const content = JSON.stringify([data.tokens, data.keys, data.columns, data.layers])
  let state = drawn.get(root)
  if (!state || state.content !== content) {
    state = build(root, data)
    state.content = content
    drawn.set(root, state)
  }
  state.data = data
  if (state.packed !== data.pattern) {
    state.packed = data.pattern
    state.weights = unpack(data.pattern)
  }
  state.choose = (layer, head) => setTriggerValue("head", [layer, head])
  state.lock = (query) => setTriggerValue("query", query)
  state.ink = inks(root)
  paint(state)
}

function build(root, data) {
  const n = data.tokens.length, m = data.keys.length
  const state = { n, m, heads: [], cell: null, whole: sheet(n, m) }
  // Small heads of a long text have the largest weight of each block of cells.
  state.rows = Math.ceil(n / data.block[0])
  state.columns = Math.ceil(m / data.block[1])
  const map = el("div", "map")
  map.append(el("span", "corner"))
  const most = Math.max(...data.layers.map((layer) => layer.heads.length))
  for (let h = 0; h < most; h++) map.append(el("span", "axis", columnName(data, h)))
  for (const layer of data.layers) {
    map.append(el("span", "axis row", layer.name))
    layer.heads.forEach((packed, h) => {
      const weights = unpack(packed)
      const button = el("button", "thumb")
      button.type = "button"
      button.setAttribute("aria-label", `${layer.name}, ${columnName(data, h)}`)
      const canvas = sheet(state.rows, state.columns)
      button.append(canvas)
      button.onclick = () => state.choose(layer.layer, h)
      state.heads.push({ layer: layer.layer, name: layer.name, head: h, weights, canvas, button })
      map.append(button)
    })
    for (let h = layer.heads.length; h < most; h++) map.append(el("span"))
  }
  map.style.gridTemplateColumns = `auto repeat(${most}, ${THUMB}px)`
  state.large = el("canvas", "large")
  state.large.tabIndex = 0
  state.large.setAttribute("role", "application")
  state.readout = el("div", "readout")
  state.readout.setAttribute("aria-live", "polite")
  const large = el("div", "large-box")
  large.append(state.large, state.readout)
  state.large.onmousemove = (event) => look(state, cellAt(state, event))
  state.large.onmouseleave = () => look(state, null)
  state.large.onclick = (event) => state.lock(cellAt(state, event)[0])
  state.large.onkeydown = (event) => onKey(event, state)
  root.replaceChildren(map, large)
  return state
}

function columnName(data, h) {
  return data.columns ? data.columns[h] : `head ${h}`
}

function sheet(rows, columns) {
  const canvas = el("canvas")
  canvas.width = columns
  canvas.height = rows
  return canvas
}

// A row-major pattern travels as one byte a cell, 0 to 255 for 0 to 1.
function unpack(packed) {
  const raw = atob(packed)
  const weights = new Uint8Array(raw.length)
  for (let i = 0; i < raw.length; i++) weights[i] = raw.charCodeAt(i)
  return weights
}

function inks(root) {
  const probe = el("span", "probe")
  root.append(probe)
  const read = (variable) => {
    probe.style.color = `var(${variable})`
    return getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number)
  }
  const found = {
    paper: read("--st-secondary-background-color"), full: read("--st-blue-color"),
    text: read("--st-text-color"), mark: read("--st-orange-color"),
  }
  probe.remove()
  return found
}

function paint(state) {
  const { data, n, m, ink } = state
  for (const head of state.heads) {
    const chosen = head.layer === data.layer && head.head === data.head
    head.button.setAttribute("aria-pressed", String(chosen))
    head.canvas.getContext("2d").putImageData(image(head.weights, state.rows, state.columns, data.causal, ink), 0, 0)
    if (chosen) state.current = head
  }
  state.whole.getContext("2d").putImageData(image(state.weights, n, m, data.causal, ink), 0, 0)
  const scale = Math.max(2, Math.ceil(720 / Math.max(n, m))) // drawn at twice the size it is shown, so that frames stay fine
  state.scale = scale
  state.large.width = m * scale
  state.large.height = n * scale
  state.large.style.aspectRatio = `${m} / ${n}`
  state.large.setAttribute("aria-label", `attention of ${state.current.name}, ${columnName(data, data.head)}: arrows move from cell to cell`)
  paintLarge(state)
  look(state, null)
}

function image(weights, n, m, causal, ink) {
  const pixels = new ImageData(m, n)
  for (let q = 0; q < n; q++) {
    for (let k = 0; k < m; k++) {
      const at = (q * m + k) * 4
      // A causal pattern has nothing above its diagonal: paper there would read as "looked, and saw nothing".
      const unseen = causal && k > q
      const a = unseen ? 0 : weights[q * m + k] / 255
      for (let c = 0; c < 3; c++) pixels.data[at + c] = ink.paper[c] + (ink.full[c] - ink.paper[c]) * Math.sqrt(a)
      pixels.data[at + 3] = unseen ? 0 : 255
    }
  }
  return pixels
}

function paintLarge(state) {
  const { large, scale, n, m, ink, cell, data } = state
  const context = large.getContext("2d")
  context.clearRect(0, 0, large.width, large.height)
  context.imageSmoothingEnabled = false
  context.drawImage(state.whole, 0, 0, m * scale, n * scale)
  const colour = (rgb) => `rgb(${rgb.join(" ")})`
  if (data.query !== null) {
    context.strokeStyle = colour(ink.mark)
    context.lineWidth = 3
    const width = data.causal ? data.query + 1 : m
    context.strokeRect(1.5, data.query * scale + 1.5, width * scale - 3, scale - 3)
  }
  if (cell) {
    context.strokeStyle = colour(ink.text)
    context.lineWidth = 3
    context.strokeRect(cell[1] * scale, cell[0] * scale, scale, scale)
  }
}

function cellAt(state, event) {
  const box = state.large.getBoundingClientRect()
  const inside = (x, length, n) => Math.max(0, Math.min(n - 1, Math.floor((x / length) * n)))
  return [inside(event.clientY - box.top, box.height, state.n), inside(event.clientX - box.left, box.width, state.m)]
}

function look(state, cell) {
  state.cell = cell
  paintLarge(state)
  const { readout, data, m } = state
  if (!cell || (data.causal && cell[1] > cell[0])) {
    const name = state.current.name
    const where = `${name[0].toUpperCase()}${name.slice(1)}, ${columnName(data, data.head)}.`
    const small = Math.max(...data.block) > 1 ? ` In small, the largest weight of every ${data.block.join(" × ")} cells.` : ""
    readout.replaceChildren(el("span", "hint", `${where} Rows are queries, columns the keys they look at. Hover a cell; click to lock its query.${small}`))
    return
  }
  const [query, key] = cell
  const weight = (state.weights[query * m + key] / 255).toFixed(2)
  readout.replaceChildren(
    el("code", "", data.tokens[query]), el("span", "hint", ` ${query} looks at `),
    el("code", "", data.keys[key]), el("span", "hint", ` ${key}: `), el("strong", "", weight)
  )
}

function onKey(event, state) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }
  const from = state.cell ?? [state.data.query ?? state.n - 1, 0]
  if (event.key === "Enter" || event.key === " ") state.lock(from[0])
  else if (moves[event.key]) {
    const query = Math.max(0, Math.min(state.n - 1, from[0] + moves[event.key][0]))
    const last = state.data.causal ? query : state.m - 1
    look(state, [query, Math.max(0, Math.min(last, from[1] + moves[event.key][1]))])
  } else return
  event.preventDefault()
  event.stopPropagation()
}
