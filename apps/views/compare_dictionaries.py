"""Two dictionaries of one hook: their metrics, and which features of each have a partner in the other."""

from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from apps import place, serve, serve_results
from apps.choices import segments, select
from apps.components.facts import Fact, facts
from apps.components.link_table import Cell, Column, link_table
from apps.layout import download
from apps.messages import plain
from apps.place import Place
from apps.shown import draw
from apps.text import number, percent, shell
from apps.told import Told
from workbench.features.comparing.siblings import found_partner, partners
from workbench.features.index.feature_index import FeatureIndex
from workbench.figures import agreement
from workbench.runs import Artifact, Run
from workbench.sae import load_sae
from workbench.sae.metrics.similarity import RECOVERED

_SHOWN = 40
_NEEDED = frozenset(
    {
        "import pandas as pd",
        "from workbench.features import FeatureIndex",
        "from workbench.features.comparing.siblings import partners",
        "from workbench.runs import Run",
        "from workbench.sae import load_sae",
    }
)
_METRICS = (
    ("L0", "l0", number),
    ("explained variance", "explained_variance", percent),
    ("silent, held out", "dead_fraction", percent),
    ("loss recovered, zero", "loss_recovered_zero", percent),
    ("loss recovered, mean", "loss_recovered_mean", percent),
)


def show(here: Place) -> None:
    """Draw it."""
    known = _known(here)
    if len(known) < 2:
        st.info("There is one dictionary, or none, in this folder of runs: it takes two to compare.")
        st.code(f"workbench sae --run {shell(here.run.path)} --name another", language="shell")
        return
    names = list(known)
    left, right = st.columns(2)
    of = {name: (_hook(artifact), _subject(run)) for name, (_, run, artifact) in known.items()}
    siblings = {name: [n for n in names if n != name and of[n] == of[name]] for name in names}
    with left:
        usual = next((name for name in names if siblings[name]), names[0])
        first = select("First dictionary", names, usual, "sae_a")
    others = siblings[first] or [n for n in names if n != first]
    with right:
        second = select("Second dictionary", others, others[0], "sae_b")
    one, two = known[first], known[second]
    _metrics({first: one[2], second: two[2]})
    if _subject(one[1]) != _subject(two[1]):
        st.caption("They are of different subjects: directions of one are not comparable with those of the other.")
        return
    try:
        _partners(first, second, one, two)
    except ValueError as error:
        plain(error)


Known = tuple[str, Run, Artifact]  # the run's name, the run, the dictionary


def _known(here: Place) -> dict[str, Known]:
    found = {}
    for name, run in sorted(serve.runs().items(), key=lambda item: item[0] != here.run_name):
        for artifact in run.artifacts():
            if artifact.kind == "sae":
                title = artifact.name if name == here.run_name else f"{name} · {artifact.name}"
                found[title] = (name, run, artifact)
    return found


def _hook(dictionary: Artifact) -> str:
    cfg = dictionary.manifest.config.get("sae", {})
    return str(cfg.get("hook_name_out") or cfg.get("hook_name", ""))


def _subject(run: Run) -> str:
    return next((a.id for a in run.artifacts() if a.kind == "model"), "")


def _metrics(chosen: dict[str, Artifact]) -> None:
    st.subheader("Their measures beside their controls", anchor=False)
    lines: list[dict[str, Any]] = []
    for name, artifact in chosen.items():
        for row in serve_results.opened(artifact, serve_results.dictionary_metrics) or []:
            lines.append({"of": name, **{key: row.get(key) for key in ("dictionary", *(k for _, k, _ in _METRICS))}})
    if not lines:
        st.caption("Neither has been measured: workbench sae measures the dictionaries it trains.")
        return
    columns = [Column("of", "text"), Column("dictionary", "word"), *(Column(title) for title, _, _ in _METRICS)]
    rows = [[Cell(x["of"]), Cell(x["dictionary"]), *(Cell(form(x[key])) for _, key, form in _METRICS)] for x in lines]
    link_table(columns, rows, key="both_metrics")
    download(pd.DataFrame(lines), "Download", "dictionaries")


def _partners(first: str, second: str, one: Known, two: Known) -> None:
    st.subheader("Which features have a partner", anchor=False)
    here_to_there = _pairs(one[2].id, two[2].id, one[2].path, two[2].path)
    there_to_here = _pairs(two[2].id, one[2].id, two[2].path, one[2].path)
    sides = {first: (here_to_there, one), second: (there_to_here, two)}
    told = {name: _told(pairs, known) for name, (pairs, known) in sides.items()}
    facts(
        [
            Fact(
                f"Of {'the first' if name == first else 'the second'}",
                percent(float(table["partner"].mean())) if len(table) else "–",
                f"{int(table['partner'].sum()):,} of {len(table):,} · by chance 5%",
                help=f"Whose nearest in the other is nearer than a cosine of {number(bar)}, which a random one as "
                "large reaches for one feature in twenty.",
                hue="trained" if name == first else "neurons",
            )
            for name, (table, bar) in told.items()
        ]
        + [
            Fact("Each other's nearest", f"{int(told[first][0]['mutual'].sum()):,}", "pairs"),
            Fact(
                "The same direction",
                f"{int((told[first][0]['cosine'] >= RECOVERED).sum()):,}",
                f"cosine of {RECOVERED} or more",
                help="Of the first's. Whatever learns from the same rows is nearer than chance: this asks for more.",
            ),
        ],
        key="partners",
    )
    side = segments("Without a partner in the other", ["of the first", "of the second"], "alone")
    name = first if side == "of the first" else second
    table, _ = told[name]
    alone = table[~table["partner"]].sort_values("cosine", kind="stable", ignore_index=True)
    _alone(alone, sides[name][1], len(table))
    st.subheader("How near each feature's nearest is", anchor=False)
    both = pd.concat([table.assign(of=name) for name, (table, _) in told.items()], ignore_index=True)
    pairs = Told(both, "pd.concat(tables, ignore_index=True)", _NEEDED, _lines(first, second, one, two)).named("pairs")
    chart = pairs.into(
        agreement,
        "random",
        "cosine",
        x_title="cosine with the nearest of as many random directions",
        y_title="with the nearest of the other dictionary",
    )
    words = "The cosine of every feature with its nearest in the other dictionary, beside random directions"
    draw(chart, pairs, name="partners", alt=words)
    st.caption("A point a live feature; above the dashed line it is nearer to the other dictionary than to chance.")


def _lines(first: str, second: str, one: Known, two: Known) -> tuple[str, ...]:
    """The statements that compare every pair of directions, of both dictionaries those that live."""
    lines = ["tables = []"]
    for name, own, other in ((first, one, two), (second, two, one)):
        lines.append(f"pairs = partners({_directions(own)}, {_directions(other)})")
        if (found := _index_of(own)) is not None:
            path = f"Run.open({str(own[1].path.resolve())!r}).find('features', {found[0].name!r}).path"
            lines.append(f"pairs = pairs[~FeatureIndex.open({path}).table['dead'].to_numpy(bool)]")
        lines.append(f"tables.append(pairs.assign(of={name!r}))")
    return tuple(lines)


def _directions(known: Known) -> str:
    _, run, artifact = known
    return f"load_sae(Run.open({str(run.path.resolve())!r}).find('sae', {artifact.name!r}).path).W_dec.detach()"


@st.cache_data(max_entries=16, show_spinner="Comparing every pair of directions …")
def _pairs(first_id: str, second_id: str, _first: Any, _second: Any) -> pd.DataFrame:
    return partners(load_sae(_first).W_dec.detach(), load_sae(_second).W_dec.detach())


def _index_of(known: Known) -> tuple[Artifact, FeatureIndex] | None:
    _, run, dictionary = known
    for artifact in run.artifacts():
        if artifact.kind == "features" and dictionary.id in artifact.manifest.inputs.values():
            return artifact, serve.index(artifact)
    return None


def _told(pairs: pd.DataFrame, known: Known) -> tuple[pd.DataFrame, float]:
    """The live features, and whether each has a partner; all of them where no index says which live."""
    found = _index_of(known)
    live = np.ones(len(pairs), bool)
    names: Any = ""
    if found is not None:
        table = found[1].table
        live, names = ~table["dead"].to_numpy(bool), table["name"].to_numpy()
    near, bar = found_partner(pairs, pairs["feature"].to_numpy()[live])
    return pairs.assign(name=names, partner=near)[live].reset_index(drop=True), bar


def _alone(alone: pd.DataFrame, known: Known, n: int) -> None:
    if alone.empty:
        st.caption("Every one has a partner.")
        return
    found = _index_of(known)
    columns = [
        Column("#"),
        Column("name", "text"),
        Column("cosine", "bar-number", "With the nearest of the other dictionary."),
        Column("random", help="The largest with a random dictionary as large as the other."),
    ]
    rows = []
    for line in alone.head(_SHOWN).to_dict("records"):
        link = {"run": known[0], "index": found[0].name, "feature": line["feature"]} if found else None
        href = f"{place.FEATURES}?{urlencode(link)}" if link else ""
        cells = [Cell(str(line["feature"]), href=href), Cell(line["name"], href=href)]
        cells += [Cell(number(line["cosine"], 3), bar=max(0.0, line["cosine"])), Cell(number(line["random"], 3))]
        rows.append(cells)
    link_table(columns, rows, key="alone_table")
    st.caption(f"Shows {len(rows):,} of {len(alone):,} without a partner, of {n:,} that live; the loneliest first.")
