"""A site on disk: made beside its place and renamed when it is whole; a killed export goes on where it stopped."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from apps.export.blocks import Page
from apps.export.chosen import (
    ATTENTION,
    DYNAMICS,
    FEATURES,
    INTERVENTIONS,
    POPULATION,
    PROBES,
    REPRODUCTIONS,
    RUNS,
    VIEWS,
    Chosen,
    folder_of,
    site_name,
)  # fmt: skip
from apps.export.pages import Pages
from apps.export.views import (
    attention,
    dynamics,
    feature,
    feature_list,
    interventions,
    overview,
    population,
    probes,
    reproduction,
    run_page,
)  # fmt: skip
from models.artifacts import MANIFEST, ArtifactError, Manifest, check_replaceable, publishing
from models.progress import progress

KIND = "site"
_FORM = 1  # of the pages: what an export of another form left half made is not gone on from
_OTHERS: dict[str, Callable[[Chosen], Page]] = {
    RUNS: run_page.page,
    PROBES: probes.page,
    POPULATION: population.page,
    DYNAMICS: dynamics.page,
    ATTENTION: attention.page,
    INTERVENTIONS: interventions.page,
    REPRODUCTIONS: reproduction.page,
}


@dataclass(frozen=True)
class Site:
    """What was written: where, how many pages, and how many bytes all its files have."""

    path: Path
    pages: int
    n_bytes: int


def check(path: Path, *, replace: bool) -> None:
    """Refuse a place that holds anything but an earlier site; one of these too, unless it is to be replaced.

    Raises:
        ArtifactError: says what is there.
    """
    check_replaceable(path, KIND)
    if (path / MANIFEST).exists() and not replace:
        made = Manifest.read(path).config.get("run", "a run")
        raise ArtifactError(f"{path} holds a site of {made} already: choose another folder, or add --replace.")


def write(chosen: Chosen, path: Path) -> Site:
    """Write the site of what was chosen to a folder, which `check` has passed.

    Raises:
        ArtifactError: another process is writing it, something of the run is damaged, or the folder is not ours.
    """
    inputs = chosen.run.inputs(*chosen.used())
    config: dict[str, Any] = {
        "verb": "export",
        "form": _FORM,
        "run": site_name(chosen.run),
        "views": list(chosen.views),
        "features": list(chosen.features),
        "written": [[feature, note.label, note.note] for feature, note in chosen.written.items()],
    }
    made = time.strftime("%d %b %Y %H:%M UTC", time.gmtime())
    navigation = [(view, folder_of(view), VIEWS[view].title) for view in chosen.views]
    with publishing(path, KIND, inputs=inputs, config=config) as draft:
        pages = Pages(draft.path, site_name(chosen.run), navigation, made)
        pages.static()
        with progress(desc="writing pages", total=chosen.n_pages, unit="page") as bar:
            for file, make in _pages(chosen, made):
                # A feature's page takes a second, and is the same whenever it was begun; the others are few.
                if not (file.startswith("features/") and (draft.path / file).exists()):
                    pages.page(make())
                bar.update()
    return Site(path, chosen.n_pages, sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))


def _pages(chosen: Chosen, made: str) -> Iterator[tuple[str, Callable[[], Page]]]:
    """Every page's file and what makes it."""
    yield overview.FILE, partial(overview.page, chosen, made)
    for view in chosen.views:
        if view != FEATURES:
            yield folder_of(view), partial(_OTHERS[view], chosen)
    if (index := chosen.index) is not None:
        yield folder_of(FEATURES), partial(feature_list.page, chosen, index)
        for at, number in enumerate(chosen.features):
            yield feature_list.address(number), partial(feature.page, chosen, index, at)
