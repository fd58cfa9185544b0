// A link of its own line: a plain click stays in the session, any other is the browser's.

export default function ({ data, parentElement, setTriggerValue }) {
  const link = el("a", "", data.label)
  sessionLink(link, data.href, () => setTriggerValue("open", true))
  parentElement.querySelector(".root").replaceChildren(link)
}
