"""What a sweep ends in: its dictionaries beside their controls in one table, which are best, and a figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from models.artifacts import ArtifactError
from workbench.cli.console import table
from workbench.cli.dictionaries import TRAINED, read_metrics
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    import pandas as pd

RESULT, FIGURE = "result.parquet", "pareto.vl.json"
# Of how a dictionary was made, what the table has beside its numbers.
MADE_BY = {
    "sae": ("architecture", "d_sae", "k", "seed"),
    "training": ("target_l0", "sparsity", "n_tokens", "batch_size", "lr"),
}
FRONTIERS = {"on_frontier": "explained_variance", "on_loss_frontier": "loss_recovered_zero"}


def refuse_other(run: Run, name: str, wanted: Sequence[str], *, replace: bool) -> None:
    """Raise `ArtifactError` where something else stands under this name than a sweep of these dictionaries."""
    found = _standing(run, name)
    if found is None:
        return
    if "sweep" not in found.manifest.config:
        raise ArtifactError(f"{found.path} is not the analysis of a sweep: choose another --name.")
    if not replace and found.manifest.config["sweep"] != list(wanted):
        raise ArtifactError(
            f"{found.path} is the analysis of a sweep of other dictionaries: choose another --name, or add --replace."
        )


def compare(run: Run, name: str, dictionaries: Sequence[Artifact]) -> "tuple[Artifact, pd.DataFrame]":
    """Publish `analyses/NAME` with `result.parquet` and a figure, and return it with its table.

    The analysis of an earlier sweep of that name is replaced: the dictionaries, of which all of it follows, stay.
    """
    from models import ranks
    from models.artifacts import write_json
    from workbench.figures import pareto

    found = frame(dictionaries)
    run = run.refresh()
    inputs, config = run.inputs(*dictionaries), {"sweep": [d.name for d in dictionaries]}
    there = _standing(run, name)
    if there is None or (there.manifest.inputs, there.manifest.config) != (inputs, config):
        with ranks.publishing_together(
            run.path_of("analysis", name), "analysis", inputs=inputs, config=config
        ) as draft:
            if ranks.is_first():
                found.to_parquet(draft.path / RESULT, index=False)
                write_json(draft.path / FIGURE, pareto(found).to_dict())
    return run.refresh().find("analysis", name), found


def frame(dictionaries: Sequence[Artifact]) -> "pd.DataFrame":
    """One row for each dictionary and each of its controls, by `name` and `dictionary` (`trained`, `PCA`, …).

    Columns: what is read (`reads`), `architecture`, `d_sae`, `k`, `seed`, how it was trained, and all that was
    measured. A control has the name of the dictionary that it stands beside, and its own `d_sae` and `k`.
    `on_frontier` and `on_loss_frontier`: whether no other one of what is read, trained or control, has as few active
    latents and more explained variance, or loss recovered (zero).
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for artifact in dictionaries:
        config = artifact.manifest.config
        made = {field: config[part].get(field) for part, fields in MADE_BY.items() for field in fields}
        made |= {"name": artifact.name, "reads": _reads(config["sae"])}
        rows += [made | measured for measured in read_metrics(artifact)]
    found = pd.DataFrame(rows)
    first = ["reads", "name", "dictionary"]
    found = found[[*first, *(column for column in found.columns if column not in first)]]
    for column, value in FRONTIERS.items():
        if value in found:
            found[value] = pd.to_numeric(found[value])  # a loss that nobody could measure is no number
            found[column] = _on_frontier(found, value)
    return found


def shown(found: "pd.DataFrame") -> str:
    """The table a person reads: those trained, in the order of their L0, and at each L0 what learned nothing."""
    numbers = ["l0", "explained_variance", "dead_fraction", "loss_recovered_zero", "loss_recovered_mean"]
    numbers = [name for name in numbers if name in found]
    headings = ["dictionary", "L0", "explained variance", "dead", "loss recovered (zero)", "(mean)"]
    trained = found[found["dictionary"] == TRAINED].sort_values(["reads", "l0"])
    lines = [
        [row["name"], *(row[name] for name in numbers), "yes" if row["on_frontier"] else ""]
        for row in trained.to_dict("records")
    ]
    controls = found[found["dictionary"] != TRAINED]
    # PCA and neurons have one width; random directions have that of what they stand beside.
    widths = controls["d_sae"].where(controls["dictionary"] == "random", 0)
    several, many_widths = len(found["reads"].unique()) > 1, len(trained["d_sae"].unique()) > 1
    for (reads, control, width, k), group in controls.groupby(["reads", "dictionary", widths, "k"]):
        name = control if (group["l0"] == 0).all() else f"{control}, k {int(k)}"
        name += f", {int(width):,} latents" if width and many_widths else ""
        name += f", {reads}" if several else ""
        lines.append([name, *(float(group[number].mean()) for number in numbers), ""])
    return table([*headings[: len(numbers) + 1], "on the frontier"], lines)


def _on_frontier(found: "pd.DataFrame", value: str) -> "pd.Series":
    """Whether nothing of the same rows, controls included, is as sparse and better, or as good and sparser."""
    best = {}
    for _, group in found.groupby("reads"):
        for row in group[group["dictionary"] == TRAINED].itertuples():
            score = getattr(row, value)
            better = (group["l0"] <= row.l0) & (group[value] >= score)
            better &= (group["l0"] < row.l0) | (group[value] > score)
            best[row.Index] = score == score and not better.any()
    return found.index.to_series().map(best).fillna(False).astype(bool)


def _reads(sae: dict[str, Any]) -> str:
    if sae.get("hook_names"):
        return " + ".join(sae["hook_names"])
    return " → ".join(filter(None, (sae["hook_name"], sae.get("hook_name_out"))))


def _standing(run: Run, name: str) -> Artifact | None:
    path = run.path_of("analysis", name)
    return next((a for a in run.artifacts() if a.path == path), None)
