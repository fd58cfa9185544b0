"""`probe_sweep`: hooks × labels × estimators over a recording, each hook read once, each number beside its controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped
from joblib import Parallel, delayed

from models.progress import progress
from probes import LogisticProbe
from probes.report import Split, probe_report
from probes.validation import HELD_OUT_SHARE, split_by_group
from workbench.activations import ActivationStore
from workbench.probing.labels import MAX_CLASSES, probe_labels

MAX_ROWS = 200_000


def probe_sweep(
    store: ActivationStore,
    hooks: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    probes: Mapping[str, Any] | None = None,
    *,
    untrained: ActivationStore | None = None,
    positions: Sequence[tuple[int, int]] | None = None,
    where: str | None = None,
    max_rows: int = MAX_ROWS,
    max_classes: int = MAX_CLASSES,
    code_length: bool = True,
    seed: int = 0,
    parts: str | Path | None = None,
) -> pd.DataFrame:
    """Probe every hook of a recording for every label.

    A hook is read once. Documents of the split `train` are fitted on and those of `test` judged by, or, where a
    recording has no two splits, a quarter of its documents. Hooks are spread by joblib: within
    `joblib.parallel_config(backend="dask")` or the like they go to a cluster.

    Args:
        store: a recording with labels.
        hooks: which; all of them where None.
        labels: which; all that can be probed where None.
        probes: estimators by name; `{"logistic": LogisticProbe(multi_class="one_vs_rest")}` where None: all labels of
            a hook are then solved together.
        untrained: the same rows of the same hooks of the randomly initialised subject.
        positions: ranges of positions (the first, and the one after the last), each probed by itself; all together
            where None.
        where: only rows for which this query to the labels is true.
        max_rows: of more, documents are drawn until they hold as many, a quarter of them to judge by.
        max_classes: labels of more are left out, where they are not named.
        code_length: whether to measure description lengths.
        seed: of the drawn documents, and of the reports.
        parts: a folder for what is ready, hook by hook: a killed sweep of the same settings goes on from there.

    Returns:
        The lines of `probes.report.probe_report` under `hook`, `probe` and `positions` ("all", or such as "1–15").

    Raises:
        ValueError: hooks or labels that are not there, too few documents, or recordings of other rows.
    """
    hooks = list(hooks or store.hooks)
    for hook in hooks:
        store.width(hook)
    if len({store.axis_of(hook) for hook in hooks}) > 1:
        of_axes = ", ".join(f"{hook} ({store.axis_of(hook)})" for hook in hooks)
        raise ValueError(f"these hooks do not count the same positions: {of_axes}; probe those of one axis at a time.")
    store = store.on(store.axis_of(hooks[0]))
    untrained = None if untrained is None else untrained.on(store.axis)
    if untrained is not None:
        refuse_other_rows(store, untrained)
    chosen, rows = choose_rows(store, where, max_rows, seed)
    classes = probe_labels(store, chosen, labels, max_classes=max_classes)
    if not classes:
        raise ValueError(f"no label of {store.path} has two classes that are frequent enough to be probed for.")
    about = store.columns("doc", "pos", *(["token"] if store.has_tokens else []))
    sets = _row_sets(about["pos"].to_numpy()[chosen], rows, positions)
    sweep = _Sweep(
        store=store,
        untrained=untrained,
        chosen=chosen,
        sets=sets,
        labels=classes,
        groups=about["doc"].to_numpy()[chosen],
        types=about["token"].to_numpy()[chosen] if store.has_tokens else None,
        code_length=code_length,
        seed=seed,
        parts=None if parts is None else Path(parts),
    )
    probes = dict(probes or {"logistic": LogisticProbe(multi_class="one_vs_rest")})
    found = Parallel(return_as="generator")(delayed(sweep.one)(hook, probes) for hook in hooks)
    return pd.concat(list(progress(found, desc="probing", unit="hook", total=len(hooks))), ignore_index=True)


def choose_rows(
    store: ActivationStore, where: str | None, max_rows: int, seed: int
) -> tuple[Int[np.ndarray, " n"], Split]:
    """The rows that are read, and which of these are fitted on, the first, and judged by, the rest.

    Either part is then a view of what was read, and no second copy.
    """
    able = np.arange(len(store)) if where is None else store.where(where)
    about = store.columns("doc", "split")
    doc = about["doc"].to_numpy()[able]
    if len(np.unique(doc)) < 3:
        raise ValueError(
            f"{len(able):,} rows of fewer than three documents are left: some must be fitted on and two held out."
        )
    is_test = np.asarray(about["split"].combine_chunks().cast("string")).astype(str)[able] == "test"
    if len(np.unique(doc[is_test])) < 2 or is_test.all():  # documents of one kind alone: some of them are held out
        drawn = np.flatnonzero(np.isin(doc, _documents(doc, max_rows, 8, seed)))
        fit, held_out = (drawn[part] for part in split_by_group(doc[drawn], seed=seed))
    else:
        of_test = round(HELD_OUT_SHARE * max_rows)
        fit = np.flatnonzero(~is_test & np.isin(doc, _documents(doc[~is_test], max_rows - of_test, 1, seed)))
        held_out = np.flatnonzero(is_test & np.isin(doc, _documents(doc[is_test], of_test, 2, seed)))
    n_fit, n = len(fit), len(fit) + len(held_out)
    return able[np.concatenate([fit, held_out])], Split(np.arange(n_fit), np.arange(n_fit, n))


def _documents(doc: Shaped[np.ndarray, " n"], max_rows: int, least: int, seed: int) -> Shaped[np.ndarray, " documents"]:
    """Documents drawn at random, as many as stay within `max_rows`, and so many at least."""
    known, sizes = np.unique(doc, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(known))
    n = max(least, int(np.searchsorted(np.cumsum(sizes[order]), max_rows, side="right")))
    return known[order[:n]]


def refuse_other_rows(store: ActivationStore, untrained: ActivationStore) -> None:
    """Raise `ValueError` where the recording of an untrained subject is not of the same rows."""
    names = ["doc", "pos", *(["token"] if store.has_tokens else [])]
    if len(untrained) != len(store) or not untrained.columns(*names).equals(store.columns(*names)):
        raise ValueError(f"{untrained.path} is not of the same rows as {store.path}: other documents, or positions.")


def _row_sets(pos: Int[np.ndarray, " n"], rows: Split, positions: Sequence[tuple[int, int]] | None) -> dict[str, Split]:
    """The rows that are fitted on and judged by, range by range."""
    if positions is None:
        return {"all": rows}
    found = {}
    for start, stop in positions:
        here = [part[(pos[part] >= start) & (pos[part] < stop)] for part in (rows.fit, rows.held_out)]
        if not all(map(len, here)):
            raise ValueError(
                f"no rows are left at positions {start} to {stop - 1}: of those read, positions are {pos.min()} to "
                f"{pos.max()}."
            )
        found[f"{start}–{stop - 1}" if stop - start > 1 else str(start)] = Split(*here)
    return found


@dataclass(frozen=True)
class _Sweep:
    """What the probes of all hooks have in common."""

    store: ActivationStore
    untrained: ActivationStore | None
    chosen: Int[np.ndarray, " n"]
    sets: dict[str, Split]
    labels: dict[str, Shaped[np.ndarray, " n"]]
    groups: Shaped[np.ndarray, " n"]
    types: Shaped[np.ndarray, " n"] | None
    code_length: bool
    seed: int
    parts: Path | None

    def one(self, hook: str, probes: Mapping[str, Any]) -> pd.DataFrame:
        """The lines of one hook; those that are ready are read."""
        ready = None if self.parts is None else self.parts / f"{hook}-{self._digest(probes)}.parquet"
        if ready is not None and ready.exists():
            return pd.read_parquet(ready)
        X = self.store.read(hook, self.chosen)
        random = None
        if self.untrained is not None and hook in self.untrained.hooks:
            random = self.untrained.read(hook, self.chosen)
        made = []
        for (name, probe), (positions, rows) in product(probes.items(), self.sets.items()):
            lines = probe_report(
                probe,
                X,
                self.labels,
                groups=self.groups,
                types=self.types,
                random_X=random,
                rows=rows,
                code_length=self.code_length,
                seed=self.seed,
            )
            for place, (column, value) in enumerate((("hook", hook), ("probe", name), ("positions", positions))):
                lines.insert(place, column, value)
            made.append(lines)
        found = pd.concat(made, ignore_index=True)
        if ready is not None:
            ready.parent.mkdir(parents=True, exist_ok=True)
            part = ready.with_suffix(".part")
            found.to_parquet(part, index=False)
            part.replace(ready)
        return found

    def _digest(self, probes: Mapping[str, Any]) -> str:
        """Of all that the lines of a hook follow from."""
        digest = joblib.hash(
            [
                str(self.store.path),
                None if self.untrained is None else str(self.untrained.path),
                self.chosen,
                {name: (rows.fit, rows.held_out) for name, rows in self.sets.items()},
                self.labels,
                {name: repr(probe) for name, probe in probes.items()},
                (self.code_length, self.seed),
            ]
        )
        return str(digest)[:12]
