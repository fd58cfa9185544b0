"""Pages as HTML: every string escaped, nothing fetched, no script and no style but the site's own two files."""

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from apps.export import picture
from apps.export.blocks import Page, Picture
from workbench.figures.exported import in_script

HERE = Path(__file__).parent
STATIC = ("site.css", "site.js")
TABLES = "tables"
# `file:` beside 'self': a page that is opened from disk has an origin of its own, which is no file's.
POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_ROWS = 200  # of a figure's table that a page shows; the CSV has all
_DIGITS = 6  # significant, of numbers in a CSV
_GLYPHS = re.compile(r"([·→↵␍]+)")


class Pages:
    """Writes the pages of one site, and the tables of their figures, into its folder."""

    def __init__(self, folder: Path, site: str, navigation: Sequence[tuple[str, str, str]], made: str) -> None:
        """`navigation` has of each entry its view, its file and its words; `made` says when, in words."""
        self.folder = folder
        self._names: set[str] = set()  # of this page's sections, tables and figures
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "anchor": self._unique,
            "pieces": _pieces,
            "data": lambda of: Markup(in_script(of)),
        }
        self._environment.globals |= {"site": site, "navigation": navigation, "made": made, "policy": POLICY}

    def static(self) -> None:
        """The style sheet and the script."""
        for name in STATIC:
            _write(self.folder / name, (HERE / "static" / name).read_text("utf8"))

    def page(self, page: Page) -> None:
        """Write a page and what it shows."""
        self._names.clear()
        template = self._environment.get_template("page.html")
        _write(self.folder / page.file, template.render(page=page, pictures=lambda block: self._picture(page, block)))

    def _picture(self, page: Page, block: Picture) -> Markup:
        stem = page.file.removesuffix(".html").replace("/", "-")
        name = self._unique(block.name)
        csv = f"{TABLES}/{stem}-{name}.csv"
        _write(self.folder / csv, _rounded(block.table).to_csv(index=False))
        head = block.table.head(_ROWS)
        return Markup(
            self._environment.get_template("picture.html").render(
                svg=picture.inline(block.chart, name),
                caption=block.caption,
                anchor=name,
                csv=page.root + csv,
                shown=len(head),
                total=len(block.table),
                columns=[str(name) for name in head],
                rows=[[_told(value) for value in row] for row in head.itertuples(index=False)],
            )
        )

    def _unique(self, text: object) -> str:
        """`anchor`, told apart from those of this page by a number where there is one already."""
        name = plain = anchor(text)
        n = 1
        while name in self._names:
            n += 1
            name = f"{plain}-{n}"
        self._names.add(name)
        return name


def anchor(text: object) -> str:
    """A name that a file, an `id` and a link can have, whatever the text: letters, digits and dashes.

    What had to go is told apart by a few digits of its hash.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")[:60]
    if plain and re.sub(r"[\s_-]+", "-", str(text).lower()) == plain:
        return plain
    return f"{plain or 'x'}-{hashlib.sha256(str(text).encode()).hexdigest()[:6]}"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, so that a killed export leaves no half of a page for the next one to keep."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf8")
    part.rename(path)


def _pieces(text: str) -> list[tuple[bool, str]]:
    """A token's white-space glyphs apart from the rest: a line ends after each `↵`."""
    pieces = []
    for at, piece in enumerate(_GLYPHS.split(text)):
        if at % 2 and "↵" in piece:
            pieces += [(True, part) for part in re.findall(r"[^↵]*↵|[^↵]+", piece)]
        elif piece:
            pieces.append((bool(at % 2), piece))
    return pieces


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    rounded = table.copy()
    for name in table.select_dtypes("floating"):
        rounded[name] = table[name].map(_significant)
    return rounded


def _significant(value: float) -> float:
    return value if pd.isna(value) or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")


def _told(value: Any) -> str:
    if value is None or value is pd.NA or value != value:
        return "–"
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
