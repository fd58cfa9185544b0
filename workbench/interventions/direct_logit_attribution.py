"""`direct_logit_attribution`: what each part of a subject adds to a logit (Elhage et al. 2021).

pairs = python_minimal_pairs("bracket", 100, 0, tokenizer)
table = direct_logit_attribution(model, pairs.clean, pairs.answer, pairs.wrong, positions=pairs.position, by="head")
beside_random(table)  # a line a component, with what it adds to random answers
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models import Transformer
from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import as_evaluated
from models.loss import IGNORED
from models.progress import progress
from workbench.interventions.components import Component, FrozenReadOut, components_of
from workbench.interventions.hook_parts import checked_parts
from workbench.interventions.intervals import over_documents
from workbench.interventions.pairs import Given, as_dataset, batch_of
from workbench.interventions.reading_out import ReadOutOf, read_out_of, readable, rounding
from workbench.interventions.values import values_at

ATTRIBUTION, RANDOM = "attribution", "random answer"
BY = ("layer", "head", "neuron", "position")
_WHERE = ("component", "layer", "head", "unit", "position")
COLUMNS = (*_WHERE, "variant", "seed", "value", "low", "high", "logit", "sequences")
_PERCENTILES = (2.5, 97.5)

Tokens = int | Int[Tensor, "*seq_and_pos"]


@dataclass(frozen=True)
class _Queries:
    """The logits that are taken apart: of sequences, at positions, of tokens and of what these are held against."""

    seq: Int[Tensor, " query"]
    pos: Int[Tensor, " query"]
    answer: Int[Tensor, "variant query"]
    wrong: Int[Tensor, "variant query"] | None

    def of(self, seq: Int[Tensor, " batch"]) -> Int[Tensor, " chosen"]:
        """Those of some sequences that follow one another."""
        return ((self.seq >= seq[0]) & (self.seq <= seq[-1])).nonzero()[:, 0]


def direct_logit_attribution(
    model: Any,
    data: Given,
    answer: Tokens,
    wrong: Tokens | None = None,
    *,
    positions: int | Int[Tensor, " seq"] | None = None,
    by: str | Sequence[str] = "layer",
    folded: bool = False,
    n_controls: int = 10,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """What each component adds to the logit of an answer, or to its difference from that of another.

    The scale of the final norm is frozen at what it was, so that the logit is a sum of what the components add: over
    the lines of one position, variant and seed `value` sums to `logit`, up to rounding. What a component does through
    later layers is not seen. In a recurrent network the last layer's state is what is read out; of the layers below it,
    and of earlier steps, nothing reaches the logits but through that.

    Args:
        model: a transformer, an encoder–decoder, a recurrent network or a model of the hub.
        data: the sequences; tokens alone where nothing is padding.
        answer: a token (or an output's number): one for all sequences, one for each `[seq]`, or one for each position
            `[seq, pos]`, −100 where nothing is asked.
        wrong: what it is held against, given in the same ways; the logit itself is taken apart where it is None.
        positions: whose logits, one for all or for each sequence; the last real one where None. Of an answer for each
            position it must be None.
        by: how fine: by `layer`, attention by `head`, MLPs by `neuron` (and states by unit), each `position` in lines
            of its own; or several of these.
        folded: take apart `model.folded()`: the final norm's bias is part of the unembedding's, the bias of values part
            of attention's, and logits are centred over the vocabulary. Hooks attached to the subject are not at work.
        n_controls: how often random tokens are drawn in place of the answer and of what it is held against.
        batch_size: sequences a pass.
        seed: of the first draw, and of the intervals.

    Returns:
        A line for each `component`, `layer`, `head`, `unit`, `position` (missing where they are taken together), in
        the order of the subject, for the `attribution` and for every `random answer`, a control with its `seed`.
        Components: `embed`, `pos_embed`, `attention`, `cross-attention`, `mlp` (with `attention bias` and `mlp bias`
        apart where these are by head and by neuron), `norm bias` and `unembed bias`; of a recurrent network `state`,
        its last layer's, and `unembed bias`. `value` is the mean over the positions asked, with its interval (95%, over
        documents), `logit` theirs of the logit, or difference, itself.

    Raises:
        ValueError: the subject has no linear read-out of a sum, cannot be folded, a token is not in its vocabulary, a
            position is not there or is padding, or shapes do not fit.
    """
    whole_number(batch_size, "batch_size", least=1)
    kinds = checked_parts(by, BY)
    if folded and not isinstance(model, Transformer):
        raise ValueError(f"a {type(model).__name__} cannot be folded: take it as it is.")
    data, read_out = as_dataset(data), read_out_of(model)
    if read_out.cap is not None:
        raise ValueError("this model's logits are capped by a tanh, and so are no sum of what its components add.")
    components_of(model, read_out, kinds)  # what cannot be taken apart is refused before anything is run
    queries = _drawn(_asked(data, answer, wrong, positions, read_out.d_out), read_out.d_out, n_controls, seed)
    model = model.folded() if folded else model
    readable(model, read_out_of(model), data, None)
    return _table(model, data, queries, kinds, batch_size, seed)


def beside_random(table: pd.DataFrame) -> pd.DataFrame:
    """A line a component: `part` (its name), `value`, `low`, `high`, and what it adds to random answers.

    Args:
        table: of `direct_logit_attribution`.

    Returns:
        Its attribution lines with `control_low` and `control_high`, the 2.5th and 97.5th percentile of its random
        answers' values; NaN where there are none.
    """
    own = table[table["variant"] == ATTRIBUTION].reset_index(drop=True)
    controls = table[table["variant"] == RANDOM].groupby(list(_WHERE), dropna=False, sort=False)["value"]
    low, high = (controls.quantile(q / 100).rename(name) for q, name in zip(_PERCENTILES, _CONTROLS, strict=True))
    ends = pd.concat([low, high], axis=1).reset_index()
    beside = own.merge(ends.astype(dict.fromkeys(_WHERE[1:], "Int64")), on=list(_WHERE), how="left")
    beside.insert(0, "part", [_name(line) for line in beside[list(_WHERE)].itertuples(index=False)])
    return beside.drop(columns=["variant", "seed"])


_CONTROLS = ("control_low", "control_high")


def _name(line: Any) -> str:
    """Such as `0.3 attention`, of a head, or `1 mlp bias`."""
    numbers = [str(number) for number in (line.layer, line.head, line.unit) if not pd.isna(number)]
    name = " ".join(filter(None, [".".join(numbers), line.component]))
    return name if pd.isna(line.position) else f"{name} at {line.position}"


def _asked(data: Dataset, answer: Tokens, wrong: Tokens | None, positions: int | Tensor | None, d_out: int) -> _Queries:
    """The positions and tokens that are meant."""
    answers = _tokens("answer", answer, data)
    others = None if wrong is None else _tokens("wrong", wrong, data)
    if answers.ndim == 2 and positions is not None:
        raise ValueError("answer has a token for each position, which says which are asked: leave positions out.")
    if answers.ndim == 2:
        seq, pos = (answers != IGNORED).nonzero(as_tuple=True)
        if not len(seq):
            raise ValueError("nothing is asked at any position: answer is −100 everywhere.")
        answers = answers[seq, pos]
    else:
        seq = torch.arange(len(data))
        pos = data.mask.sum(1) - 1 if positions is None else torch.as_tensor(positions).expand(len(data))
    length = data.tokens.shape[1]
    if pos.min() < 0 or pos.max() >= length:
        raise ValueError(f"positions run from {int(pos.min())} to {int(pos.max())}: there are 0 to {length - 1}.")
    if not data.mask[seq, pos].all():
        bare = (~data.mask[seq, pos]).nonzero()[0, 0]
        raise ValueError(
            f"position {int(pos[bare])} of sequence {int(seq[bare])} is padding: there is nothing to read."
        )
    if others is not None:
        others = others[seq, pos] if others.ndim == 2 else others[seq]
    for name, tokens in (("answer", answers), ("wrong", others)):
        if tokens is not None and not (tokens.min() >= 0 and tokens.max() < d_out):
            raise ValueError(f"{name} has {int(tokens.min())} to {int(tokens.max())}: there are 0 to {d_out - 1}.")
    if others is not None and (same := others == answers).any():
        raise ValueError(f"answer and wrong are both {int(answers[same][0])}: there is no difference to take apart.")
    return _Queries(seq, pos, answers[None], None if others is None else others[None])


def _tokens(name: str, given: Tokens, data: Dataset) -> Int[Tensor, "*seq_and_pos"]:
    tokens = torch.as_tensor(given)
    if tokens.is_floating_point() or tokens.dtype == torch.bool:
        raise ValueError(f"{name} must be token ids, whole numbers, not {tokens.dtype}.")
    tokens = tokens.expand(len(data)) if tokens.ndim == 0 else tokens
    if tokens.shape not in (data.mask.shape[:1], data.mask.shape):
        raise ValueError(
            f"{name} is {list(tokens.shape)}: give one token, or {list(data.mask.shape)[:1]}, or each position's."
        )
    return tokens.long()


def _drawn(asked: _Queries, d_out: int, n_controls: int, seed: int) -> _Queries:
    """The answers asked, and behind them those drawn: any others, and two that differ where two are held together."""
    if d_out < 2:
        raise ValueError("there is one output only: nothing else can be drawn to hold it against.")
    answers, others = [asked.answer], [asked.wrong]
    for s in range(seed, seed + whole_number(n_controls, "n_controls")):
        rng = np.random.default_rng(s)
        drawn = rng.integers(d_out, size=asked.answer.shape)
        answers.append(torch.from_numpy(drawn))
        others.append(torch.from_numpy((drawn + rng.integers(1, d_out, size=drawn.shape)) % d_out))
    wrong = None if asked.wrong is None else torch.cat([other for other in others if other is not None])
    return _Queries(asked.seq, asked.pos, torch.cat(answers), wrong)


def _table(model: Any, data: Dataset, queries: _Queries, by: set[str], batch_size: int, seed: int) -> pd.DataFrame:
    """Sums of each document, at each position or over all, and their means."""
    read_out, frozen = read_out_of(model), FrozenReadOut.of(model)
    parts = components_of(model, read_out, by)
    labels = [label for part in parts for label in part.labels()]
    labels += [] if frozen.b is None else [{"component": "norm bias"}]
    labels += [] if frozen.b_U is None else [{"component": "unembed bias"}]
    places: list[int | None] = queries.pos.unique().tolist() if "position" in by else [None]
    docs, of_seq = np.unique(data.docs.numpy(), return_inverse=True)
    n_variants, n_groups = len(queries.answer), len(docs) * len(places)
    group = torch.from_numpy(of_seq)[queries.seq] * len(places)
    if "position" in by:
        group = group + torch.searchsorted(torch.tensor(places), queries.pos)
    sums = torch.zeros(len(labels) + 1, n_variants, n_groups, dtype=torch.float64)
    with as_evaluated(model), torch.inference_mode():
        for seq in progress(torch.arange(len(data)).split(batch_size), desc="logit attribution", unit="pass"):
            chosen = queries.of(seq)
            if not len(chosen):
                continue
            added, logits = _added(model, data, read_out, frozen, parts, queries, chosen, seq)
            sums.index_add_(2, group[chosen], torch.cat([added, logits[None]]).cpu())
    by_place = sums.view(-1, n_variants, len(docs), len(places)).numpy()
    rows: list[dict[str, Any]] = []
    for place, position in enumerate(places):
        counts = np.bincount(group[group % len(places) == place] // len(places), minlength=len(docs))
        at = queries.pos == position if position is not None else torch.ones_like(queries.pos, dtype=torch.bool)
        about = {"position": position, "sequences": len(queries.seq[at].unique())}
        mean = np.stack(over_documents(by_place[..., place].reshape(-1, len(docs)), counts, seed), -1)
        mean = mean.reshape(len(labels) + 1, n_variants, 3)
        for variant in range(n_variants):
            drawn = {"variant": RANDOM, "seed": seed + variant - 1} if variant else {"variant": ATTRIBUTION}
            common = about | drawn | {"logit": mean[-1, variant, 0]}
            for label, ends in zip(labels, mean[:-1, variant], strict=True):
                rows.append(label | common | dict(zip(("value", "low", "high"), ends, strict=True)))
    whole = dict.fromkeys(("layer", "head", "unit", "position", "seed", "sequences"), "Int64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(whole)


def _added(
    model: Any,
    data: Dataset,
    read_out: ReadOutOf,
    frozen: FrozenReadOut,
    parts: Sequence[Component],
    queries: _Queries,
    chosen: Int[Tensor, " query"],
    seq: Int[Tensor, " batch"],
) -> tuple[Float[Tensor, "line variant query"], Float[Tensor, "variant query"]]:
    """What each component adds to the logits that are asked of some sequences, and the logits."""
    row, pos = queries.seq[chosen] - seq[0], queries.pos[chosen]
    hooks = list(dict.fromkeys([*(part.hook for part in parts if part.hook is not None), read_out.last]))
    values = values_at(model, batch_of(data, seq), hooks, (row, pos))
    x = values[read_out.last]
    answer = queries.answer[:, chosen]
    wrong = None if queries.wrong is None else queries.wrong[:, chosen]
    columns, biases = frozen.columns(answer), frozen.biases(answer)
    if wrong is not None:
        columns, biases = columns - frozen.columns(wrong), biases - frozen.biases(wrong)
    along = frozen.along(columns, x, read_out.norm(x[None])[0])
    added = [part.onto(values, along) for part in parts]
    added += [] if frozen.b is None else [frozen.norm_bias(columns)[None]]
    added += [] if frozen.b_U is None else [biases[None]]
    logits, largest = [], []
    for part in torch.arange(len(chosen)).split(read_out.chunk(x)):
        read = read_out(x[part]).double().T
        largest.append(read.abs().amax(0))
        own = read.gather(0, answer[:, part].to(read.device))
        logits.append(own if wrong is None else own - read.gather(0, wrong[:, part].to(read.device)))
    found = torch.cat(added), torch.cat(logits, 1)
    # Whenever something is added to the stream it is rounded to the subject's precision, and so are the logits.
    lost = rounding(x.dtype, 2 * len(hooks)) * (along * x.to(along)).norm(dim=-1)
    _refuse_unlike(*found, lost + rounding(x.dtype) * torch.cat(largest))
    return found


def _refuse_unlike(
    added: Float[Tensor, "line variant query"],
    logits: Float[Tensor, "variant query"],
    lost: Float[Tensor, "variant query"],
) -> None:
    """Raises `ValueError` where the components are not all that there is, but for what rounding has `lost`."""
    if not ((added.sum(0) - logits).abs() <= lost + rounding(torch.float32) * added.abs().sum(0)).all():
        raise ValueError(
            "this subject's logits are not the sum of what its components add: something else writes, too."
        )
