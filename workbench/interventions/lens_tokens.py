"""`lens_tokens`: the likeliest tokens that are read off each layer at each position of some prompts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.loss import IGNORED
from workbench.interventions.hook_parts import layer_of
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
from workbench.interventions.pairs import Given, as_dataset
from workbench.interventions.reading_out import ReadOutOf, read_out_of, readable
from workbench.interventions.tuned_lens import TunedLens

COLUMNS = (
    *("hook", "layer", "sequence", "position", "input", "input_text", "variant", "seed"),
    *("place", "token", "text", "probability", "target", "target_rank", "target_probability", "loss", "entropy", "kl"),
)
_WHOLE = ("layer", "seed", "sequence", "position", "input", "place", "token", "target", "target_rank")


def lens_tokens(
    model: Any,
    data: Given,
    *,
    hooks: Sequence[str] | None = None,
    targets: Int[Tensor, "seq pos"] | None = None,
    lens: TunedLens | None = None,
    untrained: Any = None,
    k: int = 5,
    n_controls: int = 1,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """The likeliest tokens that are read off each layer at each real position of some prompts.

    Args:
        model, data, hooks, targets, lens, untrained, n_controls, batch_size: as for `logit_lens`.
        k: how many.
        seed: of the first rotation.

    Returns:
        Lines by `variant` (and `seed`) of the lens, hook, sequence, position and `place` (1 is the likeliest): the
        `token`, its `text` where the subject or the data has a tokenizer, and its `probability`; and of the position,
        in each of its lines, the `input` token with its `input_text` (missing where the input is vectors), the `target`
        with its rank, probability and loss (missing where nothing is asked), the `entropy`, and `kl` from the subject's
        own distribution, all in nats. A map of layers and positions is the lines of one variant, sequence and place.

    Raises:
        ValueError: as for `logit_lens`.
    """
    data = as_dataset(data)
    read_out = read_out_of(model)
    if not 1 <= whole_number(k, "k") <= read_out.d_out:
        raise ValueError(f"k is {k}: there are 1 to {read_out.d_out} tokens.")
    asked = asked_of(model, data, targets, read_out.d_out)
    names = readable(model, read_out, data, hooks)
    lines = lines_of(names, read_out, lens, n_controls, seed)
    control = None if untrained is None else control_read_out(untrained, read_out, data, names)
    tables = [_table(model, read_out, data, asked, lines, k, batch_size)]
    if control is not None:
        of_control = [Line.plain(name, UNTRAINED) for name in names]
        tables.append(_table(untrained, control, data, asked, of_control, k, batch_size))
    table = pd.concat(tables, ignore_index=True)
    table["layer"] = [layer_of(hook) for hook in table["hook"]]
    table["target"] = table["target"].where(table["target"] != IGNORED)
    table["input"] = np.nan
    if not data.tokens.is_floating_point():
        table["input"] = data.tokens.numpy()[table["sequence"], table["position"]]
    for ids, text in (("token", "text"), ("input", "input_text")):
        table[text] = _texts(model, data, table[ids])
    return table[list(COLUMNS)].astype(dict.fromkeys(_WHOLE, "Int64"))


def _table(
    model: Any,
    read_out: ReadOutOf,
    data: Dataset,
    asked: Int[Tensor, "seq pos"],
    lines: Sequence[Line],
    k: int,
    batch_size: int,
) -> pd.DataFrame:
    """The likeliest tokens of one subject, one line after the other."""
    tables: list[pd.DataFrame] = []

    def add(chunk: Chunk) -> None:
        target = asked[chunk.seq, chunk.pos]
        for number, line in enumerate(lines):
            logits = chunk.logits(line)
            likeliest = logits.softmax(-1).topk(k)
            measures = measures_of(logits, chunk.final, target).repeat_interleave(k, 0).T
            of_row = dict(zip(MEASURES, measures.numpy(), strict=True))
            about = {"sequence": chunk.seq, "position": chunk.pos, "target": target}
            columns = {name: value.repeat_interleave(k).numpy() for name, value in about.items()} | {
                "place": torch.arange(1, k + 1).repeat(len(target)).numpy(),
                "token": likeliest.indices.flatten().cpu().numpy(),
                "probability": likeliest.values.flatten().double().cpu().numpy(),
                "target_rank": of_row["rank"],
                "target_probability": of_row["probability"],
            }
            columns |= {name: of_row[name] for name in ("loss", "entropy", "kl")}
            of_line = {"line": number, "hook": line.hook, "variant": line.variant, "seed": line.seed}
            tables.append(pd.DataFrame(columns).assign(**of_line))

    hooks = [line.hook for line in lines]
    each_chunk(model, read_out, data, data.mask, hooks, whole_number(batch_size, "batch_size", least=1), add)
    return pd.concat(tables).sort_values("line", kind="stable")


def _texts(model: Any, data: Dataset, tokens: pd.Series) -> pd.Series | float:
    """Each token as a string; missing without a tokenizer."""
    tokenizer = data.tokenizer or getattr(model, "tokenizer", None)
    if tokenizer is None:
        return np.nan
    ids = tokens.dropna().unique()
    known = {int(token): tokenizer.decode([int(token)], skip_special_tokens=False) for token in ids}
    return tokens.map(known)
