"""Examples of the index as strips of text."""

from collections.abc import Sequence

from apps.export.blocks import Strip, Strips, Token
from apps.text import number, visible
from workbench.features.index.feature_index import Example

_INKS = 20  # steps of ink that the style sheet has


def strips(examples: Sequence[Example], maximum: float, label: str = "activation") -> Strips:
    """Examples, the ink of each token its share of the feature's maximum."""
    return Strips([_strip(example, maximum) for example in examples], label)


def _strip(example: Example, maximum: float) -> Strip:
    line = f":{example.line}" if example.line is not None else ""
    badge = number(example.value)
    if example.kind == "band" and example.band is not None:
        badge = f"{example.band * 20}–{example.band * 20 + 20}%"
    tokens = [
        Token(visible(text), number(value, 3) if value > 0 else "", _ink(value, maximum), at == example.focus)
        for at, (text, value) in enumerate(zip(example.tokens, example.values, strict=True))
    ]
    return Strip(tokens, f"{example.doc}{line}", badge)


def _ink(value: float, maximum: float) -> int:
    """At least one step where there is anything at all."""
    return 0 if value <= 0 else max(1, min(_INKS, round(_INKS * value / max(maximum, 1e-9))))
