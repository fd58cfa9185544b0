"""A reproduction: its table of published, ours and bar, and the figures beside it."""

import pandas as pd

from apps.export.blocks import Block, Cell, Column, Page, Picture, Section, Table, Words
from apps.export.chosen import REPRODUCTIONS, VIEWS, Chosen, folder_of
from workbench.figures.saved import FIGURE, read_figure

_PASSED = {True: "passed", False: "failed"}
_RESULT = "result.parquet"


def page(chosen: Chosen) -> Page:
    """The page."""
    artifacts = chosen.artifacts(REPRODUCTIONS)
    result = next(artifact for artifact in artifacts if artifact.name == "result")
    about = result.manifest.config
    size = "full size" if about.get("full") else "quick"
    paper = f"{about['paper']} · {size}" if "paper" in about else size
    table = pd.read_parquet(result.path / _RESULT)
    rows = [
        [
            *(Cell(str(row[name])) for name in ("result", "published", "ours", "bar")),
            Cell("–" if pd.isna(row["passed"]) else _PASSED[bool(row["passed"])]),
        ]
        for row in table.to_dict("records")
    ]
    columns = [*(Column(name, "prose") for name in ("result", "published", "ours", "bar")), Column("", "word")]
    blocks: list[Block] = [Words(paper), Table(columns, rows)]
    for artifact in artifacts:
        if artifact is result:
            continue
        name, numbers = artifact.name.replace("_", " "), pd.read_parquet(artifact.path / _RESULT)
        if (artifact.path / FIGURE).exists():
            blocks.append(Section(name, [Picture(read_figure(artifact.path), numbers, name)]))
        else:
            blocks.append(Section(name, [Words(f"A table of {len(numbers):,} rows, without a figure.")]))
    title = str(about.get("title", VIEWS[REPRODUCTIONS].title))
    return Page(folder_of(REPRODUCTIONS), title, blocks=blocks, view=REPRODUCTIONS)
