"""`FeatureIndex`: read what is known about each feature of a dictionary.

`build_index` writes the folder, this file reads it:

    codes.safetensors     the sparse codes, feature by feature: indptr [features + 1], position, value [firings]
    rows.safetensors      seq, pos, token, doc [, line] of every recorded row
    features.parquet      one row a feature
    names.parquet, examples.parquet, logits.parquet, neighbours.parquet    sorted by feature
    naming.parquet, concepts.parquet, detectors.parquet, vocabulary.parquet, documents.parquet

An index made before names had a support keeps neither that nor the lower end of F1: both are counted back when it is
opened. One made before detectors were kept has none.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from models.artifacts import ArtifactError, Manifest
from workbench.features.columns.base import one_of
from workbench.features.index.tables import FeatureRows
from workbench.features.index.tensors import TensorFile
from workbench.features.naming.scores import EVIDENCE, with_evidence

KIND = "features"
N_BINS = 40
N_TOKENS = 20
KINDS = ("top", "band", "near_miss")


@dataclass(frozen=True)
class Example:
    """A place where a feature fires, or nearly does, with the tokens around it.

    Attributes:
        kind: `top`, `band` or `near_miss`.
        band: for a band, its number: 0 is the weakest fifth of the range from 0 to the feature's maximum.
        rank: place within its list.
        value: the feature's value there; for a near miss its pre-activation, which did not make it fire.
        row: the recorded row.
        doc: the document's name.
        line: its line in the document, counted from 1, where the labels say so.
        tokens: the window's tokens in words, all of one sequence.
        values: the feature's value at each of them; 0 where it does not fire.
        focus: which of them is the row.
        losses: the subject's loss at each of them in nats, once `FeatureIndex.with_losses` has filled it in.
        seq: the sequence.
        pos: the row's position in it (BOS is 0).
    """

    kind: str
    band: int | None
    rank: int
    value: float
    row: int
    doc: str
    line: int | None
    tokens: list[str]
    values: list[float]
    focus: int
    losses: list[float] | None
    seq: int
    pos: int


@dataclass(frozen=True)
class FeatureRecord:
    """All about one feature.

    Attributes:
        row: its row of `FeatureIndex.table`.
        histogram: (edges [bins + 1], counts [bins]) over its non-zero values.
        concepts: best first: rank, kind, concept, threshold, precision, recall, f1, lift, base_rate, f1_low (the lower
            end of the 95% interval of F1), support (rows on which the concept holds; all held-out),
            neuron, neuron_sign, neuron_f1 (the best single neuron, either sign, for that concept).
        tokens: what it fires on: token, count, share (of its firings), mean (activation there).
        logits_up, logits_down: token and logit by the direct path from its decoder; None where there is none.
        neighbours: feature, cosine (of decoder directions), name.
        coactive: feature, jaccard and correlation (of firing together), name.
        documents: the documents it fires in, densest first: doc, split, firings, density.
    """

    row: dict[str, Any]
    histogram: tuple[Float[np.ndarray, " edges"], Int[np.ndarray, " bins"]]
    concepts: pd.DataFrame
    tokens: pd.DataFrame
    logits_up: pd.DataFrame | None
    logits_down: pd.DataFrame | None
    neighbours: pd.DataFrame
    coactive: pd.DataFrame
    documents: pd.DataFrame

    @property
    def firings(self) -> pd.DataFrame:
        """The histogram as a table: low and high end of each bin, and firings."""
        edges, counts = self.histogram
        return pd.DataFrame({"from": edges[:-1], "to": edges[1:], "firings": counts})


class FeatureIndex:
    """The index of one dictionary. Opening reads the manifest and some headers; a feature is read when asked for."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._codes = TensorFile(path / "codes.safetensors")
        self._rows_file = TensorFile(path / "rows.safetensors")
        self._examples, self._names, self._logits, self._neighbours = (
            FeatureRows(path / f"{name}.parquet") for name in ("examples", "names", "logits", "neighbours")
        )
        self._indptr = self._codes.read("indptr")

    @classmethod
    def open(cls, path: str | Path) -> "FeatureIndex":
        """The index in a folder. Raises `ArtifactError` if there is none there or a file of it is missing."""
        path = Path(path)
        manifest = Manifest.read(path)
        if manifest.kind != KIND:
            raise ArtifactError(f"{path} holds {manifest.kind}, not a feature index.")
        return cls(path, manifest)

    @property
    def id(self) -> str:
        """The manifest's id."""
        return self.manifest.id

    @property
    def config(self) -> dict[str, Any]:
        """What the index was made with: hook, rows, thresholds of naming, …"""
        return self.manifest.config

    @property
    def hook_name(self) -> str:
        """The hook that the dictionary reads."""
        return self.config["hook_name"]

    @property
    def n_features(self) -> int:
        """Features of the dictionary, dead ones included."""
        return len(self._indptr) - 1

    @property
    def n_rows(self) -> int:
        """Recorded rows."""
        return self._rows_file.shape("token")[0]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a feature: feature, density, max, mean, dead, name, kind, f1, precision, recall, lift, …

        `support` is on how many held-out rows the name is true, `f1_low` the lower end of the 95% interval of `f1`
        (`probes.detection.f1_interval`): what few rows leave open. `dead` is what fires on no recorded row.
        """
        table = pd.read_parquet(self.path / "features.parquet")
        if set(EVIDENCE) <= set(table):
            return table
        names = pd.read_parquet(self.path / "names.parquet")
        best = with_evidence(names[names["rank"] == 0], self._n_held_out).set_index("feature")[list(EVIDENCE)]
        best = best.reindex(table["feature"].to_numpy())
        if self._n_held_out is not None:
            best = best.fillna(0).astype({"f1_low": "float32", "support": "int32"})
        return table.assign(**{name: best[name].to_numpy() for name in EVIDENCE})

    @cached_property
    def naming(self) -> pd.DataFrame:
        """For each dictionary and kind of concept: live columns, how many are named at F1 ≥ .5, median F1."""
        return pd.read_parquet(self.path / "naming.parquet")

    @cached_property
    def concepts(self) -> pd.DataFrame:
        """For each syntax concept: the best feature, neuron, PCA and random latent, and the feature's gain."""
        return pd.read_parquet(self.path / "concepts.parquet")

    @cached_property
    def detectors(self) -> pd.DataFrame | None:
        """For each of these concepts the features that detect it best; None where the index was made without them.

        Columns concept, rank (of F1 where they were chosen, from 0), feature, threshold, fit_f1, and on held-out rows
        precision, recall, f1, lift, base_rate, f1_low and support.
        """
        path = self.path / "detectors.parquet"
        return pd.read_parquet(path) if path.exists() else None

    @cached_property
    def vocabulary(self) -> np.ndarray:
        """Each token id in words."""
        return pd.read_parquet(self.path / "vocabulary.parquet")["token"].to_numpy(dtype=object)

    @cached_property
    def documents(self) -> pd.DataFrame:
        """The documents: name, split, rows (how many of them are recorded)."""
        return pd.read_parquet(self.path / "documents.parquet")

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """seq, pos, token, doc (and line, where the labels have it; -1 for unknown) of each recorded row."""
        names = [name for name in ("seq", "pos", "token", "doc", "line") if name in self._rows_file]
        return {name: self._rows_file.read(name) for name in names}

    def values(self, feature: int) -> tuple[Int[np.ndarray, " firings"], Float[np.ndarray, " firings"]]:
        """The rows where a feature fires, ascending, and its values there."""
        self._check(feature)
        start, stop = (int(i) for i in self._indptr[feature : feature + 2])
        rows = self._codes.read("position", start, stop).astype(np.int64)
        return rows, self._codes.read("value", start, stop).astype(np.float32)

    def values_between(
        self, feature: int, first: int, end: int
    ) -> tuple[Int[np.ndarray, " firings"], Float[np.ndarray, " firings"]]:
        """The same of the rows from `first` to before `end`."""
        self._check(feature)
        start, stop = (int(i) for i in self._indptr[feature : feature + 2])
        start = self._codes.first_not_below("position", first, start, stop)
        stop = self._codes.first_not_below("position", end, start, min(stop, start + end - first))
        return self._codes.read("position", start, stop), self._codes.read("value", start, stop).astype(np.float32)

    def codes(self) -> tuple[Int[np.ndarray, " ends"], Int[np.ndarray, " firings"]]:
        """Where every feature fires, one after the other: where each one's rows begin, and the rows."""
        return self._indptr, self._codes.read("position")

    def feature(self, feature: int) -> FeatureRecord:
        """Everything about one feature but its examples."""
        rows, values = self.values(feature)
        logits, neighbours = self._logits.of(feature), self._neighbours.of(feature)
        neighbours["name"] = self.table["name"].to_numpy()[neighbours["other"]]
        neighbours = neighbours.rename(columns={"other": "feature"})
        decoder = neighbours["kind"] == "decoder"
        return FeatureRecord(
            row=self.table.iloc[feature].to_dict(),
            histogram=_histogram(values),
            concepts=with_evidence(self._names.of(feature), self._n_held_out),
            tokens=self._tokens(rows, values),
            logits_up=self._logit_table(logits, "up"),
            logits_down=self._logit_table(logits, "down"),
            neighbours=neighbours.loc[decoder, ["feature", "cosine", "name"]].reset_index(drop=True),
            coactive=neighbours.loc[~decoder, ["feature", "jaccard", "correlation", "name"]].reset_index(drop=True),
            documents=self._documents(rows),
        )

    def examples(
        self,
        feature: int,
        kind: str = "top",
        band: int | None = None,
        *,
        before: int = 24,
        after: int = 8,
    ) -> list[Example]:
        """Examples of one kind, each with up to `before` and `after` tokens of its sequence around it.

        Raises `ValueError` for an unknown kind or feature.
        """
        if kind not in KINDS:
            raise ValueError(f"there are no examples of the kind {kind!r}: there are {', '.join(KINDS)}.")
        self._check(feature)
        table = self._examples.of(feature)
        table = table[(table["kind"] == kind) & ((band is None) | (table["band"] == band))]
        return [
            self.example_at(feature, found, before, after)
            for found in table.astype({"band": object}).itertuples(index=False)
        ]

    def with_losses(self, examples: list[Example], model: Any) -> list[Example]:
        """The same examples with the subject's loss at each token, from one run over their sequences."""
        seqs = sorted({example.seq for example in examples})
        if not seqs:
            return examples
        starts = np.searchsorted(self.rows["seq"], [*seqs, np.iinfo(np.int64).max])
        ends = np.searchsorted(self.rows["seq"], seqs, side="right")
        tokens = torch.full((len(seqs), 1 + int((ends - starts[:-1]).max())), self.config["bos"])
        for i, (start, end) in enumerate(zip(starts, ends, strict=False)):
            tokens[i, 1 : 1 + end - start] = torch.from_numpy(self.rows["token"][start:end].astype(np.int64))
        with torch.inference_mode():
            log_probs = model(tokens, return_type="logits").float().log_softmax(-1)
        losses = -log_probs[:, :-1].gather(2, tokens[:, 1:, None])[..., 0].numpy()
        filled = []
        for example in examples:
            first = example.pos - example.focus - 1  # losses start at position 1
            window = losses[seqs.index(example.seq), first : first + len(example.tokens)]
            filled.append(replace(example, losses=window.tolist()))
        return filled

    def example_at(self, feature: int, found: Any, before: int, after: int) -> Example:
        """The example of a feature of which `found` says kind, band, rank, value and row."""
        row = int(found.row)
        window = np.arange(max(0, row - before), min(self.n_rows, row + after + 1))
        window = window[self.rows["seq"][window] == self.rows["seq"][row]]
        fired, values = self.values_between(feature, int(window[0]), int(window[-1]) + 1)
        shown = np.zeros(len(window), np.float32)
        shown[fired - window[0]] = values
        line = int(self.rows["line"][row]) if "line" in self.rows else -1
        return Example(
            kind=found.kind,
            band=int(found.band) if found.kind == "band" else None,
            rank=int(found.rank),
            value=float(found.value),
            row=row,
            doc=str(self.documents["name"].iloc[self.rows["doc"][row]]),
            line=line if line >= 0 else None,
            tokens=self.vocabulary[self.rows["token"][window]].tolist(),
            values=shown.tolist(),
            focus=int(row - window[0]),
            losses=None,
            seq=int(self.rows["seq"][row]),
            pos=int(self.rows["pos"][row]),
        )

    @property
    def _n_held_out(self) -> int | None:
        found = self.config.get("results", {}).get("n_held_out_rows")
        return int(found) if found else None

    def _tokens(self, rows: np.ndarray, values: np.ndarray) -> pd.DataFrame:
        """The tokens a feature fires on most often."""
        ids, places = np.unique(self.rows["token"][rows], return_inverse=True)
        counts = np.bincount(places, minlength=len(ids))
        sums = np.bincount(places, weights=values, minlength=len(ids))
        order = np.argsort(-counts, kind="stable")[:N_TOKENS]
        return pd.DataFrame(
            {
                "token": self.vocabulary[ids[order]],
                "count": counts[order],
                "share": counts[order] / max(1, len(rows)),
                "mean": sums[order] / np.maximum(1, counts[order]),
            }
        )

    def _documents(self, rows: np.ndarray) -> pd.DataFrame:
        firings = np.bincount(self.rows["doc"][rows], minlength=len(self.documents))
        found = np.flatnonzero(firings)
        frame = self.documents.iloc[found].rename(columns={"name": "doc"})
        frame = frame.assign(firings=firings[found], density=firings[found] / frame["rows"])
        return frame.drop(columns="rows").sort_values("density", ascending=False, ignore_index=True)

    def _logit_table(self, logits: pd.DataFrame, direction: str) -> pd.DataFrame | None:
        if logits.empty:
            return None
        chosen = logits[logits["direction"] == direction]
        return pd.DataFrame({"token": self.vocabulary[chosen["token"]], "logit": chosen["logit"].to_numpy()})

    def _check(self, feature: int) -> None:
        if not 0 <= feature < self.n_features:
            one, last = one_of(self.config), self.n_features - 1
            raise ValueError(f"there is no {one} {feature}: they are numbered 0 to {last}.")


def _histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts in equal bins from 0 to the maximum; a feature that never fires has one range of empty bins."""
    top = float(values.max()) if len(values) else 1.0
    counts, edges = np.histogram(values, bins=N_BINS, range=(0.0, top))
    return edges, counts
