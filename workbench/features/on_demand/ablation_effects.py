"""`ablation_effects`: what taking a feature out of the stream does to the subject's loss and next tokens, exactly.

Each text is run with the dictionary in its place twice: with all its latents, and without the one. The error term is
kept (`workbench.sae.splice`), so that nothing else of what the hook holds changes, and a feature that does not fire has
an effect of exactly 0. Beside it the same passes with the feature's direction replaced by a random one of its length:
as much is then taken out at the same places, along nothing in particular.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.dataset import Dataset
from models.progress import progress
from workbench.activations.recorder import axis_of
from workbench.features.columns import one_of
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.reading.text import predicts_next_token
from workbench.sae import SAE
from workbench.sae.splice import ablate_latents, splice
from workbench.sae.subject_batch import SubjectBatch, hooks_of

COLUMNS = ("feature", "variant", "where", "measure", "ahead", "token", "n", "before", "change", "error")
FEATURE, RANDOM = "feature", "random direction"
FIRES, SILENT = "where it fires", "where it does not"
LOSS, PROBABILITY = "loss", "probability"
N_EXAMPLES, AHEAD, N_DRAWS, N_TOKENS = 32, 8, 3, 10
BATCH = 16  # sequences a pass


@torch.no_grad()
def ablation_effects(
    model: Any,
    dictionary: Any,
    index: FeatureIndex,
    features: Iterable[int],
    dataset: Dataset,
    *,
    n_examples: int = N_EXAMPLES,
    ahead: int = AHEAD,
    n_draws: int = N_DRAWS,
    n_tokens: int = N_TOKENS,
    seed: int = 0,
) -> pd.DataFrame:
    """How the loss at the following tokens, and the next token, change where a feature is taken out of its hook.

    Measured on the sequences that hold a feature's examples (its strongest and those of every band, evenly spread over
    their values), the feature taken out of all of their positions: at the examples themselves, and at as many places of
    the same sequences where it does not fire, at which what earlier firings did still shows. Of one that never fires,
    places are drawn from all rows.

    Args:
        model: the subject.
        dictionary: what the index was made from: a dictionary, a transcoder, or the columns of units or probes.
        index: the index.
        features: which features.
        dataset: what was recorded.
        n_examples: at most so many examples.
        ahead: how many following tokens are looked at.
        n_draws: random directions, over which the control's changes are averaged at each place.
        n_tokens: next tokens that are told, of those that rise and of those that fall.
        seed: of the places and of the random directions.

    Returns:
        Columns feature, variant (`feature`, `random direction`), where (it fires, or does not, as words), measure,
        ahead, token, n (places), before (with the feature in), change (without it, less before) and error (the standard
        error of the change over places). Measure `loss`: nats at the ahead-th following token, 1 being the next.
        Measure `probability`, where it fires alone: of the next token being `token`, for those that rise and fall most
        without the feature.

    Raises:
        ValueError: columns without a direction, a feature that is not there, a subject that does not answer at every
            position or whose hook is of a source, or data that is not what was recorded.
    """
    if not isinstance(dictionary, SAE):
        raise ValueError(
            "how much a head writes has no direction that could be taken out: `workbench patch` ablates heads."
        )
    if min(n_examples, ahead, n_draws, n_tokens) < 1:
        raise ValueError("n_examples, ahead, n_draws and n_tokens must be 1 or more.")
    read, _ = hooks_of(dictionary.cfg, model)
    if axis_of(model, read[0]) != "target":
        raise ValueError(
            f"{read[0]} is not of the positions that the subject answers at: its effects are not told here."
        )
    wanted = [int(feature) for feature in features]
    if strange := [feature for feature in wanted if not 0 <= feature < index.n_features]:
        one, last = one_of(index.config), index.n_features - 1
        raise ValueError(f"there is no {one} {strange[0]}: they are numbered 0 to {last}.")
    turned = copy.deepcopy(dictionary)
    measured = _Measured(model, dictionary, turned, dataset, n_draws, seed)
    words = index.vocabulary if predicts_next_token(model) else None
    tables = []
    for feature in progress(wanted, desc="ablation effects", unit="feature") if len(wanted) > 1 else wanted:
        places = _places(index, feature, n_examples, seed)
        tables += _told(feature, measured.of(feature, index, places, ahead), words, n_tokens)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


Places = Mapping[str, Int[np.ndarray, " n"]]


def _places(index: FeatureIndex, feature: int, n: int, seed: int) -> Places:
    """Rows of the index where a feature fires, and as many where it does not."""
    rng = np.random.default_rng([seed, feature])
    fires, _ = index.values(feature)
    found = {example.row: example.value for kind in ("top", "band") for example in index.examples(feature, kind)}
    by_value = sorted(found, key=lambda row: (found[row], row))
    spread = np.unique(np.linspace(0, len(by_value) - 1, min(n, len(by_value))).round().astype(np.int64))
    chosen = np.array(sorted(by_value[i] for i in spread), np.int64)
    near = np.isin(index.rows["seq"], index.rows["seq"][chosen]) if len(chosen) else np.ones(index.n_rows, bool)
    near[fires] = False
    silent = np.flatnonzero(near)
    silent = np.sort(rng.choice(silent, min(len(silent), max(1, len(chosen)) if len(chosen) else n), replace=False))
    return {FIRES: chosen, SILENT: silent}


@dataclass(frozen=True)
class _Found:
    """Losses at some places, [place, ahead], NaN where nothing is asked, and probabilities of the next token there."""

    loss: dict[str, dict[str, Float[np.ndarray, "place ahead"]]]  # by where, then with, or a variant without
    next: dict[str, Float[np.ndarray, " d_out"]]  # means over the places where it fires


@dataclass(frozen=True)
class _Measured:
    """The passes of one dictionary.

    Attributes:
        turned: a copy of the dictionary, of which one row at a time points elsewhere.
    """

    model: Any
    dictionary: SAE
    turned: SAE
    dataset: Dataset
    n_draws: int
    seed: int

    def of(self, feature: int, index: FeatureIndex, places: Places, ahead: int) -> _Found:
        """Everything about one feature."""
        rows = np.concatenate(list(places.values()))
        seqs, at = np.unique(index.rows["seq"][rows], return_inverse=True)
        pos = index.rows["pos"][rows].astype(np.int64)
        self._check(index, rows)
        where = np.repeat(list(places), [len(found) for found in places.values()])
        losses: dict[str, list[np.ndarray]] = {}
        sums: dict[str, np.ndarray] = {}
        order: list[np.ndarray] = []
        for start in range(0, len(seqs), BATCH):
            part = self.dataset.select(torch.from_numpy(seqs[start : start + BATCH].astype(np.int64)))
            here = np.flatnonzero((at >= start) & (at < start + BATCH))
            order.append(here)
            for name, (loss, output) in self._passes(feature, part).items():
                losses.setdefault(name, []).append(_window(loss, at[here] - start, pos[here], ahead))
                fires = here[where[here] == FIRES]
                if output is not None and len(fires):
                    shares = output[at[fires] - start, pos[fires]].double().softmax(-1).sum(0).numpy()
                    sums[name] = sums.get(name, 0.0) + shares
        back = np.argsort(np.concatenate(order), kind="stable")
        whole = {name: np.concatenate(parts)[back] for name, parts in losses.items()}
        return _Found(
            {name: {who: loss[where == name] for who, loss in _drawn(whole).items()} for name in places},
            {who: total / len(places[FIRES]) for who, total in _drawn(sums).items()},
        )

    def _passes(self, feature: int, part: Dataset) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Loss and output with the feature in, without it, and without as much along random directions."""
        batch = SubjectBatch.of(part, slice(None), self.model, self.dictionary.cfg.hook_name)
        found = {"with": self._run(self.dictionary, part, batch, [])}
        found[FEATURE] = self._run(self.dictionary, part, batch, ablate_latents(feature))
        row = self.turned.W_dec.data
        own = row[feature].clone()
        rng = np.random.default_rng([self.seed, feature, 1])
        for draw in range(self.n_draws):
            random = torch.from_numpy(rng.standard_normal(len(own))).to(own)
            row[feature] = random * (own.norm() / random.norm())
            found[f"{RANDOM} {draw}"] = self._run(self.turned, part, batch, ablate_latents(feature))
        row[feature] = own
        return found

    def _run(self, dictionary: SAE, part: Dataset, batch: SubjectBatch, edits: Any) -> tuple[Tensor, Tensor | None]:
        spliced = splice(self.model, dictionary, part, edits=edits, error_term=True)
        output, loss = self.model.run_with_hooks(
            **batch.given, **batch.targets, return_type="both", loss_per_token=True, fwd_hooks=spliced.hooks
        )
        if loss.shape[1] == 1:
            raise ValueError("this subject answers once a sequence: there are no following tokens to look at.")
        loss = torch.where(batch.counted_among(loss), loss.float(), torch.nan)
        return loss, output if batch.predicts_tokens else None

    def _check(self, index: FeatureIndex, rows: Int[np.ndarray, " n"]) -> None:
        """The index's rows are the data's own."""
        seq, pos = (torch.from_numpy(index.rows[name][rows].astype(np.int64)) for name in ("seq", "pos"))
        fits = len(seq) == 0 or (int(seq.max()) < len(self.dataset) and int(pos.max()) < self.dataset.tokens.shape[1])
        if fits and not self.dataset.tokens.is_floating_point():
            fits = bool((self.dataset.tokens[seq, pos].numpy() == index.rows["token"][rows]).all())
        if not fits:
            raise ValueError("the data is not what this index was made of: give the data that was recorded.")


def _window(loss: Tensor, seq: np.ndarray, pos: np.ndarray, ahead: int) -> Float[np.ndarray, "place ahead"]:
    """The losses of the following tokens; what is predicted at a position is the first of them."""
    padded = torch.nn.functional.pad(loss, (0, ahead + 1), value=torch.nan)
    columns = np.minimum(pos, loss.shape[1])[:, None] + np.arange(ahead)
    return padded[seq[:, None], columns].double().numpy()


def _drawn(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The draws of the control made one by their mean."""
    draws = [values for name, values in found.items() if name.startswith(RANDOM)]
    kept = {name: values for name, values in found.items() if not name.startswith(RANDOM)}
    return kept | ({RANDOM: np.mean(draws, 0)} if draws else {})


def _told(feature: int, found: _Found, words: Any, n_tokens: int) -> list[pd.DataFrame]:
    """The tables of one feature."""
    tables = []
    for where, losses in found.loss.items():
        for variant in (FEATURE, RANDOM):
            change = losses[variant] - losses["with"]
            n = (~np.isnan(change)).sum(0)
            some = n > 0
            if not some.any():
                continue
            table = {"n": n[some], "before": np.nanmean(losses["with"][:, some], 0)}
            table |= {"change": np.nanmean(change[:, some], 0), "error": _error(change[:, some])}
            tables.append(_rows(feature, variant, where, LOSS, np.flatnonzero(some) + 1, "", table))
    if found.next and words is not None:
        moved = found.next[FEATURE] - found.next["with"]
        order = np.argsort(-moved, kind="stable")
        k = min(n_tokens, len(order) // 2)
        ids = np.concatenate([order[:k], order[len(order) - k :][::-1]])
        n = len(found.loss[FIRES]["with"])
        for variant in (FEATURE, RANDOM):
            table = {
                "n": n,
                "before": found.next["with"][ids],
                "change": (found.next[variant] - found.next["with"])[ids],
            }
            table["error"] = np.nan
            tables.append(_rows(feature, variant, FIRES, PROBABILITY, 1, words[ids], table))
    return tables


def _error(change: Float[np.ndarray, "place ahead"]) -> Float[np.ndarray, " ahead"]:
    n = (~np.isnan(change)).sum(0)
    spread = np.nanmean((change - np.nanmean(change, 0)) ** 2, 0)
    return np.where(n > 1, np.sqrt(spread / np.maximum(1, n - 1)), np.nan)


def _rows(
    feature: int, variant: str, where: str, measure: str, ahead: Any, token: Any, columns: dict[str, Any]
) -> pd.DataFrame:
    keys = {"feature": feature, "variant": variant, "where": where, "measure": measure, "ahead": ahead, "token": token}
    table = pd.DataFrame(keys | columns, columns=list(COLUMNS))
    return table.astype({"feature": "int64", "ahead": "int64", "n": "int64", "token": object})
