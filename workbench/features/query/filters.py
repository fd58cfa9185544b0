"""`Filters`: which features of an index are meant, and in which order; a value that a link can carry."""

from dataclasses import dataclass, fields, replace
from typing import Any

from workbench.features.naming.comparison import MIN_LIFT, NAMED_F1

Bounds = tuple[float | None, float | None]  # both belong to it; None where it is open
ANY: Bounds = (None, None)

BEST_MATCH, MOST_TELLING = "best match", "most telling"
# What the list can be sorted by: the table's column, and whether small ones come first.
ORDERS = {
    BEST_MATCH: ("match", False),
    MOST_TELLING: ("turn", True),
    "gain over neuron": ("gain", False),
    "F1": ("f1", False),
    "F1, lower end": ("f1_low", False),
    "support": ("support", False),
    "best neuron": ("neuron_f1", False),
    "precision": ("precision", False),
    "recall": ("recall", False),
    "lift": ("lift", False),
    "density": ("density", False),
    "documents": ("documents", False),
    "maximum": ("max", False),
    "name": ("name", True),
    "number": ("feature", True),
}
# What can be bounded, and what it is called.
MEASURES = {
    "f1": "F1",
    "f1_low": "lower end of F1",
    "support": "tokens that the name is true on",
    "precision": "precision",
    "recall": "recall",
    "gain": "gain over the best neuron",
    "density": "share of tokens",
    "documents": "share of documents",
    "max": "maximum",
}

_KINDS = {"token": "a set of tokens", "syntax": "labels", "none": "nothing"}


@dataclass(frozen=True)
class Filters:
    """What a listed feature must be like, in every respect that is given.

    Attributes:
        text: each of its words must stand in the name, among the top tokens, in the number, or in what people wrote;
            case does not matter. `#12` is the feature of that number and no other.
        token: it fires on this token: on one that is it but for the spaces around, or within quotation marks on exactly
            this one.
        context: one of its examples has each of these words around it; quotation marks hold words together.
        concept: it is among the features that detect this concept best, or is named for it.
        kinds: how it is named; empty for any.
        live_only: it fires at all.
        beyond_neuron: it has a name, as `FeatureIndex.naming` counts them, and beats the best single neuron at it.
        f1, precision, recall: bounds of its name's scores on held-out documents.
        f1_low: bounds of the lower end of the 95% interval of its F1.
        support: bounds of how many held-out tokens its name is true on.
        gain: bounds of its F1 less that of its best neuron.
        density, documents: bounds of the shares of tokens and of documents on which it fires.
        max: bounds of its largest value.
        order: a key of `ORDERS`.
        reverse: the other way round.

    Raises:
        ValueError: there is no such order.
    """

    text: str = ""
    token: str = ""
    context: str = ""
    concept: str = ""
    kinds: tuple[str, ...] = ()
    live_only: bool = True
    beyond_neuron: bool = False
    f1: Bounds = ANY
    f1_low: Bounds = ANY
    support: Bounds = ANY
    precision: Bounds = ANY
    recall: Bounds = ANY
    gain: Bounds = ANY
    density: Bounds = ANY
    documents: Bounds = ANY
    max: Bounds = ANY
    order: str = BEST_MATCH
    reverse: bool = False

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"a list of features has no order {self.order!r}: there are {', '.join(ORDERS)}.")

    @property
    def active(self) -> dict[str, str]:
        """The respects in which not every feature passes: the attribute, and what it asks for in words."""
        asked = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("order", "reverse")}
        return {name: _words(name, value) for name, value in asked.items() if value and value != ANY}

    def without(self, name: str) -> "Filters":
        """The same, but for one respect in which every feature passes."""
        default: Any = {"live_only": False, "beyond_neuron": False, "kinds": ()}.get(name, "")
        changes: dict[str, Any] = {name: ANY if name in MEASURES else default}
        return replace(self, **changes)


def conditions(filters: Filters) -> list[tuple[str, list[Any]]]:
    """What a row of the table must fulfil as SQL, each with the values of its parameters, in order.

    Numbers are compared in single precision, in which an index keeps them: what is shown as 0.7 is at least 0.7.
    """
    found: list[tuple[str, list[Any]]] = []
    for word in filters.text.casefold().split():
        number = word.removeprefix("#")
        if word != number and number.isascii() and number.isdigit() and len(number) < 12:
            found.append(("feature = ?", [int(number)]))
        else:
            found.append(("contains(concat_ws(' ', words, written), ?)", [word]))
    if filters.kinds:
        found.append(("kind IN (SELECT unnest(?::VARCHAR[]))", [list(filters.kinds)]))
    if filters.live_only:
        found.append(("NOT dead", []))
    if filters.beyond_neuron:
        found.append(("f1 >= ?::FLOAT AND lift >= ?::FLOAT AND gain > 0", [NAMED_F1, MIN_LIFT]))
    for name in MEASURES:  # columns of ours, and no words of anybody's
        low, high = getattr(filters, name)
        if low is not None:
            found.append((f'"{name}"::FLOAT >= ?::FLOAT', [low]))
        if high is not None:
            found.append((f'"{name}"::FLOAT <= ?::FLOAT', [high]))
    return found


def _words(name: str, value: Any) -> str:
    if name in MEASURES:
        low, high = value
        ends = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high is not None else ""]
        return f"{MEASURES[name]} {' and '.join(filter(None, ends))}"
    if name == "kinds":
        return f"named by {' or '.join(_KINDS.get(kind, kind) for kind in value)}"
    return {
        "text": f"the search for {value!r}",
        "token": f"fires on the token {value!r}",
        "context": f"examples with {value!r}",
        "concept": f"fires inside {value!r}",
        "live_only": "live features only",
        "beyond_neuron": "named beyond its neuron",
    }[name]
