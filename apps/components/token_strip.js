// Token strips: text whose tokens carry a value. Hover and focus show it, arrows move, a click or Enter chooses.

const drawn = new WeakMap()

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root")
  const content = JSON.stringify([data.strips, data.hue, data.max, data.choosable])
  let state = drawn.get(root)
  if (!state || state.content !== content) {
    state = draw(root, data)
    state.content = content
    drawn.set(root, state)
  }
  state.choose = (token) => data.spans ? pick(state, token, setTriggerValue) : setTriggerValue("token", token)
  state.open = (strip) => setTriggerValue("open", strip)
  state.span = data.span
  state.tokens.forEach((line) => line.forEach((node, i) => {
    const inside = data.spans && within(data.span, i)
    if (data.spans) node.classList.toggle("in-span", inside)
    const chosen = (data.chosen === i && data.choosable) || inside
    if (data.spans) {
      node.setAttribute("aria-pressed", String(inside))
      return
    }
    node.classList.toggle("chosen", chosen)
    if (data.choosable) node.setAttribute("aria-pressed", String(chosen))
  }))
  return () => noteOf(root).hidden = true
}

function within(span, i) {
  return Boolean(span) && span[0] <= i && i < span[1]
}

// The first end of a span waits here, in the browser, for the second.
function pick(state, token, setTriggerValue) {
  if (state.held === undefined) {
    state.held = token
    preview(state, token)
    return
  }
  const span = [Math.min(state.held, token), Math.max(state.held, token) + 1]
  state.held = undefined
  preview(state, null)
  setTriggerValue("span", span)
}

function preview(state, token) {
  const held = state.held
  const span = held === undefined ? null : [Math.min(held, token), Math.max(held, token) + 1]
  state.tokens[0].forEach((node, i) => {
    node.classList.toggle("held", within(span, i))
    node.classList.toggle("in-span", span === null && within(state.span, i))
  })
}

function draw(root, data) {
  const state = { tokens: [] }
  const note = noteOf(root)
  note.hidden = true
  const strips = data.strips.map((strip, index) => {
    const box = el("section", "strip")
    if (strip.title) box.append(header(strip, index, state))
    const text = el("div", "text")
    text.setAttribute("role", "group")
    text.setAttribute("aria-label", strip.title || data.label)
    const nodes = strip.tokens.map((token, i) => tokenNode(strip, data, token, i))
    nodes.forEach((node, i) => {
      node.onmouseenter = node.onfocus = () => {
        showNote(note, node, noteRows(strip, data, i))
        if (state.held !== undefined) preview(state, i)
      }
      node.onmouseleave = node.onblur = () => { note.hidden = true }
      if (data.choosable) node.onclick = () => state.choose(i)
      node.onkeydown = (event) => onKey(event, state, index, i, data.choosable)
    })
    state.tokens.push(nodes)
    text.append(...nodes)
    box.append(text)
    return box
  })
  root.replaceChildren(...strips, note)
  const first = state.tokens[0]?.[0]
  if (first) first.tabIndex = 0
  return state
}

function header(strip, index, state) {
  const line = el("header", "strip-head")
  if (strip.badge) line.append(el("span", "badge", strip.badge))
  line.append(el("span", "where", strip.title))
  if (strip.href) {
    const link = sessionLink(el("a", "open", strip.action), strip.href, () => state.open(index))
    line.append(link)
  }
  return line
}

function tokenNode(strip, data, token, i) {
  const node = el("span", "token")
  fillToken(node, token)
  const value = strip.values[i]
  const signed = data.hue === "signed"
  const size = signed ? Math.abs(value) : value
  const share = value === null ? 0 : Math.max(0, Math.min(1, size / data.max))
  if (share > 0) node.style.setProperty("--a", (8 + 60 * share).toFixed(1) + "%")
  if (share > 0) node.classList.add("lit", !signed ? data.hue : value > 0 ? "activation" : "loss")
  if (strip.focus === i) node.classList.add("focus")
  if (within(strip.span, i)) node.classList.add("in-span")
  if (data.choosable) node.setAttribute("role", "button")
  else node.setAttribute("role", "img")
  node.setAttribute("aria-label", `${token}, ${data.label} ${strip.shown[i]}`)
  node.tabIndex = -1
  return node
}

function noteRows(strip, data, i) {
  const rows = [[strip.tokens[i], "", "head"], [data.label, strip.shown[i]]]
  return rows.concat(strip.notes ? strip.notes[i] : [])
}

function onKey(event, state, line, i, choosable) {
  const here = state.tokens[line][i]
  let next = null
  if (event.key === "ArrowRight") next = state.tokens[line][i + 1]
  else if (event.key === "ArrowLeft") next = state.tokens[line][i - 1]
  else if (event.key === "Home") next = state.tokens[line][0]
  else if (event.key === "End") next = state.tokens[line].at(-1)
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") next = vertical(state, here, event.key === "ArrowDown")
  else if ((event.key === "Enter" || event.key === " ") && choosable) state.choose(i)
  else if (event.key === "Escape" && state.held !== undefined) {
    state.held = undefined
    preview(state, null)
  } else return
  event.preventDefault()
  event.stopPropagation()
  if (!next) return
  here.tabIndex = -1
  next.tabIndex = 0
  next.focus()
}

// The token of the nearest line below (or above) that stands closest in x.
function vertical(state, here, down) {
  const from = here.getClientRects()[0]
  let best = null
  let bestCost = Infinity
  for (const node of state.tokens.flat()) {
    const box = node.getClientRects()[0]
    const dy = down ? box.top - from.top : from.top - box.top
    if (dy < 4) continue
    const cost = dy * 1000 + Math.abs(box.left - from.left)
    if (cost < bestCost) [best, bestCost] = [node, cost]
  }
  return best
}
