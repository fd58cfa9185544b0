"""What `workbench circuit` leaves behind, and its reader."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from models.artifacts import ArtifactError, Manifest
from models.table_files import read_table
from workbench.circuits.faithfulness import CUT as WITHOUT
from workbench.circuits.faithfulness import KEPT as ALONE

VERB = "circuit"
RESULT, FAITHFULNESS, PATHS = "result.parquet", "faithfulness.parquet", "paths.parquet"
FEATURES, FEATURE_EDGES = "feature_circuit.parquet", "feature_edges.parquet"
FEATURE_FAITHFULNESS = "feature_faithfulness.parquet"
LATENTS, NEURONS = "latents", "neurons"
# The circuit of the edges that are kept, among those of other sizes.
KEPT = "kept"
FEW = 20  # nodes that are few enough to be read one by one
_NEEDED = {
    RESULT: ("sender", "receiver", "ablation", "variant", "seed", "score", "kept"),
    FAITHFULNESS: ("circuit", "edges", "variant", "seed", "left", "value", "whole", "nothing", "share"),
    PATHS: ("sender", "receiver", "norm", "variant", "seed", "effect", "effect_low", "effect_high"),
    FEATURES: ("hook", "unit", "kind", "dictionary", "variant", "seed", "effect", "low", "high"),
    FEATURE_EDGES: ("from_hook", "from_unit", "to_hook", "to_unit", "variant", "seed", "effect"),
    FEATURE_FAITHFULNESS: ("nodes", "errors", "dictionary", "variant", "seed", "whole", "nothing", "share"),
}
_INPUTS = {"hook_embed": "embed", "hook_pos_embed": "position"}
_READ_AS = {"q": "queries", "k": "keys", "v": "values"}


@dataclass(frozen=True)
class Circuit:
    """A circuit of a subject's parts, and one of its dictionaries' latents.

    Attributes:
        search: `attribution` or `acdc`.
        edges: every edge of the subject with its `score`: the metric's change when it alone is cut, estimated
            (attribution), or by how much more the metric is off when it is cut too (acdc); `kept` says which are the
            circuit's. The control has the same scores dealt out at random. None of a subject that has no such graph.
        faithfulness: of the circuits of the strongest edges, `kept` and others, beside random ones; None likewise.
        paths: of the strongest edges between heads, MLPs and output, what each restores by itself; None likewise, or
            where none were asked for.
        features: `feature_circuit`, of `latents` and, beside them, `neurons`; None where no dictionary was named.
        feature_edges: what passes between latents of several hooks; None of a single hook.
        feature_faithfulness: how much the first n nodes keep; None where no dictionary was named.
        dictionaries: by hook the name of its dictionary in the run.
    """

    search: str
    edges: pd.DataFrame | None
    faithfulness: pd.DataFrame | None
    paths: pd.DataFrame | None
    features: pd.DataFrame | None
    feature_edges: pd.DataFrame | None
    feature_faithfulness: pd.DataFrame | None
    dictionaries: Mapping[str, str]

    @property
    def kept(self) -> pd.DataFrame:
        """The circuit's edges, the strongest first; none where the subject has no graph of edges."""
        if self.edges is None:
            return pd.DataFrame(columns=list(_NEEDED[RESULT]))
        return strongest(self.edges[self.edges["kept"] & self.edges["seed"].isna()])

    @property
    def strongest_features(self) -> pd.DataFrame:
        """The latents, and the errors beside them, the largest effects first."""
        if self.features is None:
            return pd.DataFrame(columns=list(_NEEDED[FEATURES]))
        own = self.features[(self.features["dictionary"] == LATENTS) & self.features["seed"].isna()]
        return strongest(own, "effect")

    @property
    def edge_means(self) -> pd.DataFrame:
        """`kept`, with `random`: the mean of the scores dealt to the edge at random; none where it was dealt none."""
        if self.edges is None:
            return self.kept.assign(random=float("nan"))
        ends = ["sender", "receiver"]
        dealt = self.edges[self.edges["seed"].notna()].groupby(ends)["score"].mean().rename("random")
        return self.kept.join(dealt, on=ends)

    @property
    def path_means(self) -> pd.DataFrame:
        """A line a path, as they were patched: `sender`, `receiver`, `norm`, `effect` and `random`, a mean.

        The mean is over random directions; no line where no path was patched.
        """
        ends = ["sender", "receiver", "norm"]
        if self.paths is None:
            return pd.DataFrame(columns=[*ends, "effect", "random"])
        own = self.paths[self.paths["seed"].isna()]
        random = self.paths[self.paths["seed"].notna()].groupby(ends)["effect"].mean().rename("random")
        return own[[*ends, "effect"]].join(random, on=ends).reset_index(drop=True)

    @property
    def feature_means(self) -> pd.DataFrame:
        """`strongest_features`, with `random`: the mean effect of the same written along random directions."""
        own = self.strongest_features
        if self.features is None:
            return own.assign(random=float("nan"))
        controls = self.features[(self.features["dictionary"] == LATENTS) & self.features["seed"].notna()]
        means = controls.groupby(node_names(controls))["effect"].mean()
        return own.assign(random=[float(means[node]) for node in node_names(own)])

    @property
    def shares(self) -> dict[str, float]:
        """Of the whole model's metric what the kept edges do `alone`, what is left `without` them; both at random.

        Random circuits have as many edges. Nothing where the subject has no graph of edges.
        """
        if self.faithfulness is None:
            return {}
        ours = self.faithfulness[self.faithfulness["circuit"] == KEPT]
        means = ours.groupby(["left", ours["seed"].notna()])["share"].mean()
        told = {"alone": (ALONE, False), "random alone": (ALONE, True)}
        told |= {"without": (WITHOUT, False), "random without": (WITHOUT, True)}
        return {name: float(means[at]) for name, at in told.items()}

    @property
    def feature_shares(self) -> dict[str, tuple[int, float, float]]:
        """Of latents and of neurons: how many of the largest (20 where there are), what they keep, and random ones."""
        if self.feature_faithfulness is None:
            return {}
        table = self.feature_faithfulness
        told = {}
        for name, lines in table[table["errors"] == "as nodes"].groupby("dictionary", sort=False):
            n = lines.loc[lines["nodes"] <= FEW, "nodes"].max()
            at = lines[lines["nodes"] == n]
            means = at.groupby(at["seed"].notna())["share"].mean()
            told[str(name)] = (int(n), float(means[False]), float(means[True]))
        return told


def strongest(table: pd.DataFrame, by: str = "score") -> pd.DataFrame:
    """Lines in the order of how large a number is, whatever its sign."""
    return table.loc[table[by].abs().sort_values(ascending=False, kind="stable").index]


def part_name(node: str) -> str:
    """What a sender or a receiver belongs to, in short: `embed`, head `1.0`, `MLP 1`, `output`."""
    if node in _INPUTS:
        return _INPUTS[node]
    found = re.fullmatch(r"blocks\.(\d+)\.(attn\.)?hook_(\w+?)(?:\[(\d+)\])?", node)
    if found is None:
        return node
    layer, _, hook, head = found.groups()
    if head is not None:
        return f"{layer}.{head}"
    return "output" if hook == "resid_post" else f"MLP {layer}"


def read_as(receiver: str) -> str:
    """As what a head reads: its `queries`, `keys` or `values`; nothing of other receivers."""
    found = re.search(r"hook_([qkv])_input", receiver)
    return _READ_AS[found[1]] if found else ""


def node_name(hook: str, unit: Any) -> str:
    """A node of a dictionary: its hook, and the latent's number, or `error`."""
    return f"{hook} {'error' if pd.isna(unit) else int(unit)}"


def node_names(lines: pd.DataFrame) -> list[str]:
    """`node_name` of every line's `hook` and `unit`."""
    return [node_name(hook, unit) for hook, unit in zip(lines["hook"], lines["unit"], strict=True)]


def read_circuit(path: str | Path) -> Circuit:
    """What `workbench circuit` left in a folder. Raises `ArtifactError` where nothing is, or it is damaged."""
    folder = Path(path)
    config: Mapping[str, Any] = Manifest.read(folder).config
    if config.get("verb") != VERB:
        raise ArtifactError(f"{folder} is no circuit: `workbench circuit` makes one.")
    told = config["results"]
    tables = {name: read_table(folder / name, needed) for name, needed in _NEEDED.items()}
    if gone := [name for name in told["tables"] if tables.get(name) is None]:
        raise ArtifactError(f"{folder} is damaged: it lacks {gone[0]}.")
    edges, faithfulness, paths, features, feature_edges, feature_faithfulness = (tables[name] for name in _NEEDED)
    return Circuit(
        config["search"],
        edges,
        faithfulness,
        paths,
        features,
        feature_edges,
        feature_faithfulness,
        told["dictionaries"],
    )
