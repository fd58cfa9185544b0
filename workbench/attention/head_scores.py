"""`head_scores`: what each attention head looks at, on real text and on random repeats, beside random heads."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import einops
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from workbench.attention import patterns as detect
from workbench.attention.brackets import matching_bracket, open_bracket
from workbench.attention.label_grids import LabelGrids, MissingLabelError
from workbench.attention.patterns import Detection
from workbench.attention.random_heads import random_repeats_for, with_random_weights
from workbench.attention.streaming import PatternHook, pattern_hooks, stream_patterns
from workbench.interventions.pairs import Given, as_dataset

REAL, RANDOM = "real", "random repeated"
ENTROPY, DISTANCE, LOCAL = "entropy", "distance", "local"
DETECTIONS: dict[str, Detection] = {
    "previous_token": detect.previous_token,
    "first_token": detect.first_token,
    "current_token": detect.current_token,
    "duplicate_token": detect.duplicate_token,
    "induction": detect.induction,
    "matching_bracket": matching_bracket,
    "open_bracket": open_bracket,
}
SCORES = (*DETECTIONS, LOCAL, ENTROPY, DISTANCE)
MEASURES = ("attention", "agreement")
COLUMNS = (
    *("hook", "layer", "head", "text", "score", "value"),
    *("control", "control_low", "control_high", "positions"),
)
Wanted = Sequence[str] | Mapping[str, Detection | Tensor]


def head_scores(
    model: Any,
    data: Given,
    *,
    patterns: Wanted | None = None,
    random_repeats: bool = True,
    untrained: Any = None,
    n_controls: int = 1,
    measure: str = "attention",
    window: int = 8,
    hooks: str | Iterable[str] | None = None,
    n_random: int = 32,
    batch_size: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """Score every head of a subject by where it looks.

    The queries are the real positions but BOS; what is read is each layer's pattern of a batch, one after the other.

    Args:
        model: a subject with attention: `Transformer`, `HubModel`, `EncoderDecoderTransformer` or `Seq2Seq`.
        data: the sequences, a `Dataset` or tokens of which all are real.
        patterns: names of `SCORES`, or your own by name: functions `(tokens [batch, pos], labels) → Bool [batch, query,
            key]`, and Boolean matrices [query, key] or [seq, query, key], which are of `data` alone. Where it is None
            all of `SCORES` are given; those of labels where the sequences have them. Of attention to a source only
            matrices and `entropy` are.
        random_repeats: score random tokens repeated once, of the subject's own vocabulary, as well.
        untrained: the same subject before training, `run.model(step=0)`, the control. None: this one with weights
            drawn anew (those of a hub model have their entries shuffled).
        n_controls: how many of these are drawn; none where it is 0 (and `untrained` None).
        measure: of detections, `attention`: the share on the marked keys, Σ(A∘D)/ΣA; or `agreement`: 1 − Σ|A − D|/n.
            Both are over the n queries that have a key.
        window: how far back is `local`, in positions.
        hooks: the names of some `…hook_pattern`; all where it is None.
        n_random: sequences of random repeats.
        batch_size: sequences a pass, which bounds the memory.
        seed: of random repeats and weights.

    Returns:
        A line for each head, text (`real`, `random repeated`) and score: `value` the mean over `positions` queries
        (`entropy` in bits, `distance` in positions, the others as `measure` says); `control` the mean over the
        control's heads of the same layer, with the lowest and the highest of them.

    Raises:
        ValueError: the subject has no attention; a score, a label or a hook is unknown; a pattern does not fit the
            sequences or is not Boolean; or no query has a key.
    """
    data = as_dataset(data)
    if measure not in MEASURES:
        raise ValueError(f"measure is {measure!r}: it must be {' or '.join(MEASURES)}.")
    for name, number in (("n_random", n_random), ("window", window)):
        whole_number(number, name, least=1)
    whole_number(n_controls, "n_controls")
    found = pattern_hooks(model, hooks)
    wanted = _wanted(patterns, window)
    texts = {REAL: _Text(data, wanted, measure, must=patterns is not None)}
    if random_repeats:
        general = {name: one for name, one in wanted.items() if not isinstance(one, Tensor)}
        texts[RANDOM] = _Text(random_repeats_for(model, data, n_random, seed), general, measure, must=False)
    for text in texts.values():
        text.check(found)

    def scored(subject: Any) -> pd.DataFrame:
        rows = [row | {"text": name} for name, text in texts.items() for row in text.scores(subject, found, batch_size)]
        return pd.DataFrame(rows)

    table = scored(model)
    if table.empty:
        raise ValueError("nothing was scored: no query of these sequences has a key that it should look at.")
    if untrained is not None:
        random = [scored(untrained)]
    else:
        random = [scored(with_random_weights(model, s)) for s in range(seed, seed + n_controls)]
    return _beside(table, random)


def _wanted(patterns: Wanted | None, window: int) -> dict[str, Detection | Tensor | None]:
    """Detections by name; None stands for `entropy` and `distance`."""
    there: dict[str, Any] = DETECTIONS | {LOCAL: detect.local(window), ENTROPY: None, DISTANCE: None}
    if patterns is None:
        return there
    if isinstance(patterns, Mapping):
        return dict(patterns)
    names = [patterns] if isinstance(patterns, str) else list(patterns)
    if unknown := [name for name in names if name not in there]:
        raise ValueError(f"there is no score {unknown[0]!r}: there are {', '.join(SCORES)}; or give your own by name.")
    return {name: there[name] for name in names}


class _Text:
    """Some sequences, and what is asked of the heads that read them."""

    def __init__(
        self, data: Dataset, wanted: Mapping[str, Detection | Tensor | None], measure: str, *, must: bool
    ) -> None:
        self.data, self.measure, self.must = data, measure, must
        self.rows = {axis: data.on_axis(axis) for axis in ("target", "source") if axis == "target" or _has_source(data)}
        self.wanted = dict(wanted)

    def check(self, hooks: Sequence[PatternHook]) -> None:
        """Refuse, before any long work, detections that do not fit."""
        for queries, keys in {(hook.queries, hook.keys) for hook in hooks}:
            self._weights(queries, keys, range(0, 1))

    def scores(self, model: Any, hooks: list[PatternHook], batch_size: int) -> list[dict[str, Any]]:
        """A line for each head and score."""
        sums: dict[tuple[str, str], Tensor] = {}
        counts: dict[tuple[str, str], float] = {}
        shared: dict[tuple[str, str], _Weights] = {}

        def read(hook: PatternHook, pattern: Tensor, rows: range) -> None:
            axes = (hook.queries, hook.keys)
            if axes not in shared or shared[axes].rows != rows:
                shared[axes] = self._weights(*axes, rows)
            weights = shared[axes]
            for name, value, n in weights.of(pattern, hook.is_causal):
                sums[hook.name, name] = sums.get((hook.name, name), 0) + value.double().cpu()
                counts[hook.name, name] = counts.get((hook.name, name), 0) + n

        stream_patterns(model, self.data, hooks, read, batch_size=batch_size, desc="head scores")
        layers = {hook.name: hook.layer for hook in hooks}
        return [
            {"hook": hook, "layer": layers[hook], "head": head, "score": name, "value": value, "positions": int(n)}
            for (hook, name), total in sums.items()
            if (n := counts[hook, name])
            for head, value in enumerate((total / n).tolist())
        ]

    def _weights(self, queries: str, keys: str, rows: range) -> "_Weights":
        """What each score of a batch multiplies the attention by."""
        part = slice(rows.start, rows.stop)
        asked, seen = self.rows[queries].counted[part], self.rows[keys].mask[part]
        tokens, labels = self.rows[queries].tokens[part], LabelGrids(self.rows[queries], rows.start, rows.stop)
        marked: dict[str, Tensor] = {}
        for name, given in self.wanted.items():
            if given is None or (queries != keys and not isinstance(given, Tensor)):
                continue
            try:
                whole = _of_rows(given, len(self.data), part) if isinstance(given, Tensor) else given(tokens, labels)
            except MissingLabelError:
                if self.must:
                    raise
                continue
            _check_keys(name, whole, (len(asked), asked.shape[1], seen.shape[1]))
            marked[name] = whole & asked[..., None] & seen[:, None]
        also = [name for name in (ENTROPY, DISTANCE) if self.wanted.get(name, "") is None]
        if queries != keys:
            also = [name for name in also if name != DISTANCE]
        return _Weights(rows, asked, marked, also, self.measure)


def _has_source(data: Dataset) -> bool:
    return data.source is not None


def _of_rows(matrix: Tensor, n: int, rows: slice) -> Tensor:
    if matrix.ndim == 2:
        return matrix.expand(len(range(*rows.indices(n))), -1, -1)
    if len(matrix) != n:
        raise ValueError(f"a pattern of {len(matrix)} sequences was given for {n}: it wants one matrix for each.")
    return matrix[rows]


def _check_keys(name: str, keys: Any, shape: tuple[int, int, int]) -> None:
    if not isinstance(keys, Tensor) or keys.dtype != torch.bool or keys.shape != shape:
        what = f"{keys.dtype} {list(keys.shape)}" if isinstance(keys, Tensor) else type(keys).__name__
        raise ValueError(f"the pattern {name!r} is {what}: it must be bool {list(shape)}, [batch, query, key].")


class _Weights:
    """Detections of a batch, one beside the other, so that a layer's attention is read once for all of them."""

    def __init__(
        self,
        rows: range,
        asked: Bool[Tensor, "batch query"],
        marked: dict[str, Bool[Tensor, "batch query key"]],
        also: list[str],
        measure: str,
    ) -> None:
        self.rows, self.asked, self.names, self.also, self.measure = rows, asked, list(marked), also, measure
        self.n_queries = [int(keys.any(-1).sum()) for keys in marked.values()]
        self.n_keys = [int(keys.sum()) for keys in marked.values()]
        self.stacked = torch.stack(list(marked.values()), -1).float() if marked else None
        if self.stacked is not None:
            self.stacked = einops.rearrange(self.stacked, "batch query key score -> batch (query key) score")

    def of(self, pattern: Tensor, causal: bool) -> Iterable[tuple[str, Float[Tensor, " head"], int]]:
        """Each score's sum over queries, and how many there are."""
        pattern = detect.in_single(pattern)
        if self.stacked is not None:
            self.stacked = self.stacked.to(pattern)
            flat = einops.rearrange(pattern, "batch head query key -> batch head (query key)")
            sums = (flat @ self.stacked).sum(0)
            for i, (name, n_queries, n_keys) in enumerate(zip(self.names, self.n_queries, self.n_keys, strict=True)):
                # Rows of attention sum to 1, so that Σ|A − D| is known from Σ(A∘D).
                total = sums[:, i] if self.measure == "attention" else 2 * sums[:, i] - n_keys
                yield name, total, n_queries
        asked = self.asked.to(pattern)
        for name in self.also:
            value = detect.entropy(pattern, causal) if name == ENTROPY else detect.distance(pattern)
            yield name, einops.einsum(value, asked, "batch head query, batch query -> head"), int(self.asked.sum())


def _beside(table: pd.DataFrame, random: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The scores, with those of the control's heads of the same layer."""
    same = ["hook", "text", "score"]
    if random:
        heads = pd.concat(random, ignore_index=True).groupby(same)["value"].agg(["mean", "min", "max"])
        heads.columns = pd.Index(["control", "control_low", "control_high"])
        table = table.join(heads, on=same)
    else:
        table = table.assign(control=float("nan"), control_low=float("nan"), control_high=float("nan"))
    return table[list(COLUMNS)].astype({"layer": "Int64", "head": "Int64", "positions": "Int64"})
