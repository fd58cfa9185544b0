// Helpers that every component's module begins with. Text enters the page through textContent alone.

function el(tag, className, text) {
  const node = document.createElement(tag)
  if (className) node.className = className
  if (text !== undefined && text !== null) node.textContent = text
  return node
}

// White-space glyphs are dimmed, and a line ends where the text's line ends, so that code looks like code.
function fillToken(node, token) {
  for (const piece of token.split(/([·→↵␍]+)/)) {
    if (!piece) continue
    if (!/^[·→↵␍]+$/.test(piece)) {
      node.append(piece)
      continue
    }
    for (const run of piece.split(/(↵)/)) {
      if (!run) continue
      node.append(el("span", "ws", run))
      if (run === "↵") node.append(el("br"))
    }
  }
}

// One floating note per component, placed beside what it speaks of and kept inside the window.
function noteOf(root) {
  let note = root.querySelector(".note")
  if (!note) {
    note = el("div", "note")
    note.setAttribute("role", "tooltip")
    note.hidden = true
    root.append(note)
  }
  return note
}

function showNote(note, anchor, rows) {
  note.replaceChildren(
    ...rows.map(([name, value, kind]) => {
      const row = el("div", "note-row" + (kind ? " " + kind : ""))
      row.append(el("span", "note-name", name), el("span", "note-value", value))
      return row
    })
  )
  note.hidden = false
  const box = anchor.getBoundingClientRect()
  const own = note.getBoundingClientRect()
  const left = Math.max(8, Math.min(box.left, window.innerWidth - own.width - 8))
  const below = box.bottom + 6
  const top = below + own.height > window.innerHeight ? box.top - own.height - 6 : below
  note.style.left = `${left}px`
  note.style.top = `${Math.max(4, top)}px`
}

// A real link that a plain click follows inside the session; any other click is the browser's.
function sessionLink(node, href, follow) {
  node.href = href
  node.onclick = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button !== 0) return
    event.preventDefault()
    follow()
  }
  return node
}
