// A row of facts: a small label over a number, wrapping as the width allows.

export default function ({ data, parentElement }) {
  const list = el("dl")
  for (const fact of data.facts) {
    const box = el("div", "fact" + (fact.hue ? " " + fact.hue : ""))
    if (fact.help) box.title = fact.help
    const label = fact.label.length > 1 ? fact.label[0].toUpperCase() + fact.label.slice(1) : fact.label // p stays p
    box.append(el("dt", "", label), el("dd", "", fact.value))
    if (fact.note) box.append(el("dd", "under", fact.note))
    list.append(box)
  }
  parentElement.querySelector(".root").replaceChildren(list)
}
