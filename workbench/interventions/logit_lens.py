"""`logit_lens`: what a subject's read-out would say of each layer (nostalgebraist 2020).

logit_lens(model, dataset.split("test"))  # how loss, rank, entropy and distance from the final logits go with depth
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.baselines import ngram_losses
from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import as_evaluated
from models.loss import IGNORED
from workbench.interventions.hook_parts import checked_parts, layer_of
from workbench.interventions.intervals import over_documents
from workbench.interventions.lens_rows import (
    MEASURES,
    UNTRAINED,
    Chunk,
    Line,
    asked_of,
    control_read_out,
    each_chunk,
    lines_of,
    measures_of,
)
from workbench.interventions.pairs import Given, as_dataset, batch_of
from workbench.interventions.reading_out import ReadOutOf, read_out_of, readable
from workbench.interventions.tuned_lens import TunedLens
from workbench.interventions.values import values_at

UNIGRAM, BIGRAM = "unigram", "bigram"
COLUMNS = ("hook", "layer", "position", "variant", "seed", "measure", "value", "low", "high", "sequences", "documents")


def logit_lens(
    model: Any,
    data: Given,
    *,
    hooks: Sequence[str] | None = None,
    targets: Int[Tensor, "seq pos"] | None = None,
    lens: TunedLens | None = None,
    by: Sequence[str] = (),
    untrained: Any = None,
    train: Given | None = None,
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """How near what the read-out says of each layer is to the truth, and to what the subject says in the end.

    A recurrent layer that is not the last need not hold anything where the read-out looks: what is wanted there is a
    `TunedLens`. Logits are made of some rows at a time, so that memory is bounded by `batch_size` whatever the
    vocabulary.

    Args:
        model: the subject: a transformer, a recurrent network, an encoder–decoder or a model of the hub.
        data: the sequences; tokens alone where nothing is padding.
        hooks: whose values are read out, as wide as the last layer's; where left out the stream as it enters the first
            layer and leaves each, or what each recurrent layer hands up.
        targets: what each position should give, −100 where nothing is asked, in place of the data's own or next tokens.
        lens: of this subject, fitted: beside what is read out as it is, what is read out through it.
        by: `("position",)` for a line at each position; `()` for one over all of them.
        untrained: the same subject before training, or with random weights: the lens on it is a control.
        train: what the subject was trained on: unigram and bigram losses are counted there.
        n_controls: random rotations of the stream: the read-out of rows as long that point elsewhere.
        batch_size: sequences a pass.
        seed: of the first rotation, and of the intervals.

    Returns:
        A line for each hook, position, `variant` (`logit lens`, `tuned lens`, `random rotation`, `untrained`; of the
        loss alone, at no hook, `unigram` and `bigram`) and `measure`, means over the positions that are asked, each
        with its interval (95%, over documents): `loss` of the target in nats, its `rank` among the logits (1 is the
        first) and `probability`, the `entropy` in nats, `kl` from the subject's own distribution to this one in nats,
        and `agreement`, how often the likeliest token is the subject's own. `sequences` and `documents` are those with
        a position that is asked.

    Raises:
        ValueError: the subject has no such read-out, a hook is not there or of another width, the lens is of other
            hooks, or nothing is asked.
    """
    whole_number(batch_size, "batch_size", least=1)
    positional = bool(checked_parts(by, ["position"]))
    data = as_dataset(data)
    read_out = read_out_of(model)
    asked = asked_of(model, data, targets, read_out.d_out)
    if not (asked != IGNORED).any():
        raise ValueError("nothing is asked at any position: give targets, or sequences of two tokens or more.")
    names = readable(model, read_out, data, hooks)
    lines = lines_of(names, read_out, lens, n_controls, seed)
    control = None if untrained is None else control_read_out(untrained, read_out, data, names)
    counts = [] if train is None else _counted(as_dataset(train), data, targets, read_out.d_out)
    rows = _summary(model, read_out, data, asked, lines, positional, batch_size, seed)
    if control is not None:
        of_control = [Line.plain(name, UNTRAINED) for name in names]
        rows += _summary(untrained, control, data, asked, of_control, positional, batch_size, seed)
    kinds = {"layer": "Int64", "position": "Int64", "seed": "Int64", "sequences": "Int64", "documents": "Int64"}
    return pd.DataFrame([*rows, *counts], columns=list(COLUMNS)).astype(kinds)


def read_outs(
    model: Any,
    data: Given,
    *,
    hooks: Sequence[str] | None = None,
    lens: TunedLens | None = None,
    batch_size: int = 64,
) -> tuple[list[str], Float[Tensor, "layer seq pos d_out"]]:
    """The logits that are read off each layer, for a prompt or a few: with their hooks, in the order of the subject.

    All of them are held at once, on the CPU. `ValueError` as for `logit_lens`.
    """
    data = as_dataset(data)
    read_out = read_out_of(model)
    names = readable(model, read_out, data, hooks)
    lines = [Line.plain(name) if lens is None else Line.tuned(name, lens, read_out) for name in names]
    parts = []
    with as_evaluated(model), torch.inference_mode():
        for seq in torch.arange(len(data)).split(whole_number(batch_size, "batch_size", least=1)):
            values = values_at(model, batch_of(data, seq), names)
            flat = [(line, values[line.hook]) for line in lines]
            read = [read_out(line.through(value.flatten(0, 1))).view(*value.shape[:2], -1) for line, value in flat]
            parts.append(torch.stack(read).cpu())
    return names, torch.cat(parts, 1).clone()


def _summary(
    model: Any,
    read_out: ReadOutOf,
    data: Dataset,
    asked: Int[Tensor, "seq pos"],
    lines: Sequence[Line],
    positional: bool,
    batch_size: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The lines of one subject: sums of each document, at each position or over all, and their means."""
    where = asked != IGNORED
    places = where.any(0).nonzero()[:, 0].tolist() if positional else [None]
    names, of_seq = np.unique(data.docs.numpy(), return_inverse=True)
    column = torch.zeros(where.shape[1], dtype=torch.int64)
    if positional:
        column[places] = torch.arange(len(places))
    sums = torch.zeros(len(lines), len(names) * len(places), len(MEASURES), dtype=torch.float64)

    def add(chunk: Chunk) -> None:
        group = torch.from_numpy(of_seq)[chunk.seq] * len(places) + column[chunk.pos]
        for total, line in zip(sums, lines, strict=True):
            total.index_add_(0, group, measures_of(chunk.logits(line), chunk.final, asked[chunk.seq, chunk.pos]))

    each_chunk(model, read_out, data, where, [line.hook for line in lines], batch_size, add)
    by_place = sums.view(len(lines), len(names), len(places), len(MEASURES)).numpy()
    rows = []
    for place, position in enumerate(places):
        here = where if position is None else where[:, [position]]
        counts = np.bincount(of_seq, weights=here.sum(1).numpy(), minlength=len(names)).astype(np.int64)
        about = {"position": position, "sequences": int(here.any(1).sum()), "documents": int((counts > 0).sum())}
        of_doc = np.moveaxis(by_place[:, :, place], 2, 1).reshape(-1, len(names))
        found = np.stack(over_documents(of_doc, counts, seed), 1).reshape(len(lines), len(MEASURES), 3)
        for line, measures in zip(lines, found, strict=True):
            of_line = {"hook": line.hook, "layer": layer_of(line.hook), "variant": line.variant, "seed": line.seed}
            for measure, (value, low, high) in zip(MEASURES, measures, strict=True):
                rows.append(about | of_line | {"measure": measure, "value": value, "low": low, "high": high})
    return rows


def _counted(train: Dataset, data: Dataset, targets: Tensor | None, d_out: int) -> list[dict[str, Any]]:
    """The losses of counting what was trained on."""
    if targets is not None or data.targets is not None or train.tokens.is_floating_point():
        raise ValueError("unigrams and bigrams predict next tokens, but these sequences are asked something else.")
    if max(int(train.tokens.max()), int(data.tokens.max())) >= d_out:
        raise ValueError(f"train has tokens that the subject does not know: it has {d_out}.")
    losses = ngram_losses((train.tokens, train.mask), (data.tokens, data.mask), d_out)
    about = {"measure": "loss", "sequences": len(data), "documents": len(data.docs.unique())}
    return [about | {"variant": name, "value": losses[f"{name}_loss"]} for name in (UNIGRAM, BIGRAM)]
