"""A figure that lies beside its table, as Vega-Lite's JSON."""

import json
from pathlib import Path
from typing import Any

import altair as alt

from models.artifacts import ArtifactError

FIGURE = "figure.vl.json"


def read_figure(path: Path) -> dict[str, Any]:
    """The figure of an artifact.

    Raises `ArtifactError` where it is damaged, or would fetch something: ours have their data inside.
    """
    try:
        figure = json.loads((path / FIGURE).read_text("utf8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path / FIGURE} is missing or damaged: {str(error).splitlines()[0]}") from error
    if not isinstance(figure, dict) or _fetches(figure):
        raise ArtifactError(f"{path / FIGURE} is no figure of ours: it would fetch what it draws.")
    return figure


def saved_chart(path: Path) -> alt.TopLevelMixin:
    """The figure of an artifact as a chart. Raises `ArtifactError` as `read_figure` does."""
    return alt.Chart.from_dict(read_figure(path))


def _fetches(part: Any) -> bool:
    if isinstance(part, dict):
        return "url" in part or "href" in part or any(map(_fetches, part.values()))
    return isinstance(part, list) and any(map(_fetches, part))
