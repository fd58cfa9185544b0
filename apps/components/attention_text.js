// Where one head looks, in the text itself: hover or focus a token and what it looks at is shaded, a click locks it.

const drawn = new WeakMap()
const LISTED = 5 // keys in a token's note
const LEAST = 0.01

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root")
  const content = JSON.stringify([data.queries, data.keys, data.pattern, data.label])
  let state = drawn.get(root)
  if (!state || state.content !== content) {
    state = draw(root, data)
    state.content = content
    drawn.set(root, state)
  }
  state.locked = data.query
  state.lock = (query) => setTriggerValue("query", query)
  shade(state, state.locked)
  return () => noteOf(root).hidden = true
}

function draw(root, data) {
  const state = { data, queries: [], keys: [], weights: unpack(data.pattern), turned: false }
  const note = noteOf(root)
  note.hidden = true
  const line = (title, tokens, into, asked) => {
    const box = el("section", "line")
    if (title) box.append(el("header", "head", title))
    const text = el("div", "text")
    tokens.forEach((token, i) => {
      const node = el("span", "token")
      fillToken(node, token)
      if (asked) listen(state, note, node, i)
      into.push(node)
      text.append(node)
    })
    box.append(text)
    return box
  }
  const one = data.keys === null
  const boxes = one ? [line("", data.queries, state.queries, true)]
    : [line("looks from", data.queries, state.queries, true), line("at", data.keys, state.keys, false)]
  if (one) state.keys = state.queries
  root.classList.toggle("apart", data.apart)
  root.replaceChildren(toggle(state), ...boxes, note)
  if (state.queries.length) state.queries[0].tabIndex = 0
  return state
}

function toggle(state) {
  const button = el("button", "turn", "")
  button.type = "button"
  const say = () => { button.textContent = state.turned ? "who looks at it" : "where it looks" }
  button.onclick = () => { state.turned = !state.turned; say(); shade(state, state.locked) }
  say()
  const box = el("div", "bar")
  const crosses = state.data.keys !== null
  box.append(el("span", "hint", state.data.label + " · a hovered token shows " + (crosses ? "where it looks" : "")), button)
  button.hidden = crosses
  return box
}

function listen(state, note, node, i) {
  node.setAttribute("role", "button")
  node.tabIndex = -1
  node.onmouseenter = node.onfocus = () => {
    shade(state, i)
    showNote(note, node, rows(state, i))
  }
  node.onmouseleave = node.onblur = () => {
    note.hidden = true
    shade(state, state.locked)
  }
  node.onclick = () => state.lock(i)
  node.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (step) state.queries[Math.max(0, Math.min(state.queries.length - 1, i + step))].focus()
    else if (event.key === "Enter" || event.key === " ") state.lock(i)
    else return
    event.preventDefault()
    event.stopPropagation()
  }
}

// What a token looks at, or who looks at it: [position, weight] of each.
function row(state, i) {
  const n = state.keys.length
  if (state.turned) return state.queries.map((_, q) => [q, state.weights[q * n + i] / 255])
  return state.keys.map((_, k) => [k, state.weights[i * n + k] / 255])
}

function shade(state, query) {
  const asked = query !== null && query !== undefined && query < state.queries.length
  const weights = asked ? row(state, query) : []
  state.keys.forEach((node) => { node.style.removeProperty("--weight") })
  weights.forEach(([at, weight]) => {
    if (weight > 0) state.keys[at].style.setProperty("--weight", `${Math.round(100 * Math.sqrt(weight))}%`)
  })
  state.queries.forEach((node, i) => {
    node.classList.toggle("asked", asked && i === query)
    node.setAttribute("aria-pressed", String(i === state.locked))
  })
}

function rows(state, i) {
  const words = state.data.keys === null ? state.data.queries : state.data.keys
  const best = row(state, i).filter(([, weight]) => weight >= LEAST).sort((a, b) => b[1] - a[1]).slice(0, LISTED)
  const head = [`${state.data.queries[i]}  ${i}`, state.turned ? "looked at by" : "looks at", "head"]
  return [head, ...best.map(([at, weight]) => [`${words[at]}  ${at}`, weight.toFixed(2), "code"])]
}

// A row-major pattern travels as one byte a cell, 0 to 255 for 0 to 1.
function unpack(packed) {
  const raw = atob(packed)
  const weights = new Uint8Array(raw.length)
  for (let i = 0; i < raw.length; i++) weights[i] = raw.charCodeAt(i)
  return weights
}
