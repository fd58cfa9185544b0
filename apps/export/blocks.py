"""What a page of the site is made of: plain values, which the templates write as HTML and escape."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pandas as pd

Hue = Literal["", "neurons", "muted"]
# As in the explorer's tables: numbers to the right, with or without a bar; words; text that is cut where too long.
Kind = Literal["number", "bar", "word", "text", "prose", "token"]


@dataclass(frozen=True)
class Fact:
    """A number with its name, a note under it and what it means; `hue` marks whose it is."""

    name: str
    value: str
    note: str = ""
    help: str = ""
    hue: Literal["", "trained", "neurons"] = ""


@dataclass(frozen=True)
class Facts:
    """Facts side by side."""

    kind: ClassVar = "facts"
    facts: Sequence[Fact]


@dataclass(frozen=True)
class Words:
    """A paragraph; `quiet` ones explain what stands above them, `alert` ones say what to mind."""

    kind: ClassVar = "words"
    text: str
    style: Literal["plain", "quiet", "alert"] = "quiet"


@dataclass(frozen=True)
class Bullets:
    """Sentences one below the other."""

    kind: ClassVar = "bullets"
    lines: Sequence[str]


@dataclass(frozen=True)
class Cell:
    """One cell: its text, where it leads, the length of its bar in [0, 1], and what it is sorted by."""

    text: str
    href: str = ""
    bar: float | None = None
    hue: Hue = ""
    by: float | str | None = None

    @property
    def percent(self) -> int:
        """The bar's length in whole percent, which the style sheet has a class for."""
        return 0 if self.bar is None or math.isnan(self.bar) else round(100 * min(1.0, max(0.0, self.bar)))


@dataclass(frozen=True)
class Column:
    """A heading, how its cells look, and what it means."""

    label: str
    kind: Kind = "number"
    help: str = ""


@dataclass(frozen=True)
class Table:
    """A table; headings sort where `sorts`, a box searches its rows where `searches`, a tall one scrolls."""

    kind: ClassVar = "table"
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    name: str = ""
    sorts: bool = False
    searches: bool = False
    tall: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure of `workbench.figures` with the numbers that it draws.

    Attributes:
        chart: the Altair chart, or its Vega-Lite.
        table: the numbers; the site keeps all of them as CSV.
        name: of that file, and the figure's on its page.
        caption: what is seen.
    """

    kind: ClassVar = "picture"
    chart: Any
    table: pd.DataFrame
    name: str
    caption: str = ""


@dataclass(frozen=True)
class Token:
    """A token of a strip: its glyphs, its value in words (none where it is not lit), and its ink in twentieths."""

    text: str
    value: str = ""
    ink: int = 0
    focus: bool = False


@dataclass(frozen=True)
class Strip:
    """A stretch of text whose tokens carry a value, with where it stands and a short number before that."""

    tokens: Sequence[Token]
    title: str
    badge: str


@dataclass(frozen=True)
class Strips:
    """Stretches of text one below the other; `label` says what the values are."""

    kind: ClassVar = "strips"
    strips: Sequence[Strip]
    label: str


@dataclass(frozen=True)
class Head:
    """One head's attention as a picture, whose opacity is the root of the weight."""

    name: str
    png: str


@dataclass(frozen=True)
class Patterns:
    """Attention of every head over one sequence.

    Attributes:
        name: of the sequence.
        queries, keys: the words of both sides.
        layers: each layer's name and heads.
        causal: whether no query looks at a later key.
    """

    kind: ClassVar = "patterns"
    name: str
    queries: Sequence[str]
    keys: Sequence[str]
    layers: Sequence[tuple[str, Sequence[Head]]]
    causal: bool


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; a `small` one is part of another."""

    kind: ClassVar = "section"
    title: str
    blocks: "Sequence[Block]"
    small: bool = False


@dataclass(frozen=True)
class Halves:
    """Two panes side by side where there is room."""

    kind: ClassVar = "halves"
    left: "Sequence[Block]"
    right: "Sequence[Block]"


@dataclass(frozen=True)
class Tabs:
    """Sections of which one is shown at a time; without JavaScript all are, one below the other."""

    kind: ClassVar = "tabs"
    name: str
    sections: Sequence[Section]


@dataclass(frozen=True)
class Folded:
    """What is shown once it is asked for."""

    kind: ClassVar = "folded"
    title: str
    blocks: "Sequence[Block]"


Block = (
    Facts | Words | Bullets | Table | Picture | Strips | Patterns | Section | Halves | Tabs | Folded
)  # what a page holds


@dataclass(frozen=True)
class Page:
    """A page of the site.

    Attributes:
        file: from the site's folder.
        title: its heading.
        lead: a line below.
        blocks: what it holds.
        view: which entry of the navigation it belongs to.
        before, after: the pages that K and J lead to, from this one; empty where there is none.
        at: where it stands among these.
    """

    file: str
    title: str
    lead: str = ""
    blocks: Sequence[Block] = ()
    view: str = ""
    before: str = ""
    after: str = ""
    at: str = ""

    @property
    def root(self) -> str:
        """The way from this page to the site's folder."""
        return "../" * self.file.count("/")
