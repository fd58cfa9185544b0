"""`probe_sweep`: hooks × labels × estimators over a recording, each hook read once, each number beside its controls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped
from joblib import Parallel, delayed

from models.progress import progress
from probes import LogisticProbe
from probes.report import Split, probe_report
from probes.validation import HELD_OUT_SHARE, split_by_group
from workbench.activations import ActivationStore
from workbench.probing.labels import probe_labels

MAX_ROWS = 200_000


def probe_sweep(
    store: ActivationStore,
    hooks: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    probes: Mapping[str, Any] | None = None,
    *,
    untrained: ActivationStore | None = None,
    where: str | None = None,
    max_rows: int = MAX_ROWS,
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
        probes: estimators by name; `{"logistic": LogisticProbe()}` where None.
        untrained: the same rows of the same hooks of the randomly initialised subject.
        where: only rows for which this query to the labels is true.
        max_rows: of more, documents are drawn until they hold as many, a quarter of them to judge by.
        code_length: whether to measure description lengths.
        seed: of the drawn documents, and of the reports.
        parts: a folder for what is ready, hook by hook: a killed sweep goes on from there.

    Returns:
        The lines of `probes.report.probe_report` under `hook` and `probe`.

    Raises:
        ValueError: hooks or labels that are not there, too few documents, or recordings of other rows.
    """
    hooks = list(hooks or store.hooks)
    for hook in hooks:
        store.width(hook)
    store = store.on(store.axis_of(hooks[0]))
    untrained = None if untrained is None else untrained.on(store.axis)
    chosen, rows = choose_rows(store, where, max_rows, seed)
    classes = probe_labels(store, chosen, labels)
    if not classes:
        raise ValueError(f"no label of {store.path} has two classes that are frequent enough to be probed for.")
    about = store.columns("doc", *(["token"] if store.has_tokens else []))
    groups = about["doc"].to_numpy()[chosen]
    types = about["token"].to_numpy()[chosen] if store.has_tokens else None
    if untrained is not None and len(untrained) != len(store):
        raise ValueError(f"{untrained.path} has {len(untrained):,} rows and {store.path} {len(store):,}: not the same.")
    probes = dict(probes or {"logistic": LogisticProbe()})
    how = {"groups": groups, "types": types, "rows": rows, "code_length": code_length, "seed": seed}
    folder = None if parts is None else Path(parts)
    jobs = [(hook, name) for hook in hooks for name in probes]
    found = Parallel(return_as="generator")(
        delayed(_one)(store, untrained, hook, name, probes[name], chosen, classes, how, folder) for hook, name in jobs
    )
    return pd.concat(list(progress(found, desc="probing", unit="hook", total=len(jobs))), ignore_index=True)


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


def _one(
    store: ActivationStore,
    untrained: ActivationStore | None,
    hook: str,
    name: str,
    probe: Any,
    chosen: Int[np.ndarray, " n"],
    classes: dict[str, Shaped[np.ndarray, " n"]],
    how: dict[str, Any],
    folder: Path | None,
) -> pd.DataFrame:
    """The lines of one hook and one estimator; those that are ready are read."""
    ready = None if folder is None else folder / f"{hook}-{name}.parquet"
    if ready is not None and ready.exists():
        return pd.read_parquet(ready)
    random = None
    if untrained is not None and hook in untrained.hooks:
        random = untrained.read(hook, chosen)
    found = probe_report(probe, store.read(hook, chosen), classes, random_X=random, **how)
    found.insert(0, "hook", hook)
    found.insert(1, "probe", name)
    if ready is not None:
        ready.parent.mkdir(parents=True, exist_ok=True)
        part = ready.with_suffix(".part")
        found.to_parquet(part, index=False)
        part.replace(ready)
    return found
