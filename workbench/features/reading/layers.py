"""What a subject's read-out says of each layer at one token of a text that was read."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from workbench.features.reading.prompt import PromptReading
from workbench.features.reading.text import predicts_next_token
from workbench.features.vocabulary import token_strings
from workbench.interventions.lens_rows import Line, measures_of
from workbench.interventions.reading_out import read_out_of
from workbench.interventions.tuned_lens import TunedLens


def stream_hooks(model: Any) -> list[str]:
    """The hooks that a lens reads: the stream as it grows, or what each recurrent layer hands up; none where none."""
    try:
        read_out = read_out_of(model)
    except ValueError:
        return []
    return [name for name in read_out.hooks if name in model.hook_dict]


def layers_at(
    model: Any,
    reading: PromptReading,
    position: int,
    *,
    lens: TunedLens | None = None,
    k: int = 5,
    n_controls: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """The likeliest tokens that are read off each layer at one token: `lens_tokens` of what was kept, with no new pass.

    Args:
        model: the subject.
        reading: of a text, with what stood at `stream_hooks(model)`.
        position: of the token.
        lens: of this subject, fitted: beside what is read out as it is, what is read out through it, where it has
            something for the hook.
        k: how many tokens.
        n_controls: random rotations of the stream.
        seed: of the first.

    Returns:
        Lines by `hook`, `variant` (`logit lens`, `tuned lens`, `random rotation`), `seed` of a rotation and `place` (1
        is the likeliest): the `token`, its `text` and `probability`; and of the layer, in each of its lines, the
        `answer` in words (the token that comes next; behind the last, the one that the subject holds likeliest), its
        `rank` and `answer_probability`, and the distribution's `entropy` and `kl` from the subject's own, in nats.

    Raises:
        ValueError: the subject does not predict the next token, or has no such read-out; the lens is of another width.
    """
    if not predicts_next_token(model):
        raise ValueError("this model does not predict the next token: there is none to read off its layers.")
    read_out = read_out_of(model)
    names = stream_hooks(model)
    with torch.inference_mode():
        device = next(model.parameters()).device
        rows = {name: reading.held[name][position : position + 1].to(device) for name in names}
        final = read_out(rows[read_out.last]).log_softmax(-1)
        _check(reading, position, final)
        following = position + 1 < len(reading.token_ids)
        answer = int(reading.token_ids[position + 1]) if following else int(final.argmax())
        lines = [Line.plain(name) for name in names]
        if lens is not None:
            lines += [Line.tuned(name, lens, read_out) for name in names if name in (*lens.hooks, read_out.last)]
        lines += [Line.rotated(name, read_out.d, s) for s in range(seed, seed + n_controls) for name in names]
        tables = [_lines(model, line, read_out(line.through(rows[line.hook])), final, answer, k) for line in lines]
    table = pd.concat(tables, ignore_index=True)
    table["answer"] = token_strings(model.tokenizer, [answer])[0]
    return table.astype({"seed": "Int64", "rank": int})


def answer_by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """The answer's `probability` and `rank` by layer, of `layers_at`, as `workbench.figures.lens_by_layer` takes it."""
    once = table[table["place"] == 1].assign(probability=lambda t: t["answer_probability"])
    keys = ["hook", "variant", "seed"]
    found = once.melt(keys, ["probability", "rank"], var_name="measure", value_name="value")
    return found.assign(low=float("nan"), high=float("nan"))


def _check(reading: PromptReading, position: int, final: torch.Tensor) -> None:
    """`ValueError` where what is read off the last hook is not what the subject said."""
    said = reading.predictions[position][0][1]
    if abs(float(final.exp().max()) - said) > 1e-3:
        raise ValueError("this subject's predictions are not what its read-out makes of its last layer.")


def _lines(model: Any, line: Line, logits: torch.Tensor, final: torch.Tensor, answer: int, k: int) -> pd.DataFrame:
    likeliest = logits[0].softmax(-1).topk(min(k, logits.shape[-1]))
    _, rank, probability, entropy, kl, _ = measures_of(logits, final, torch.tensor([answer]))[0].tolist()
    tokens: Sequence[int] = likeliest.indices.tolist()
    return pd.DataFrame(
        {
            "hook": line.hook,
            "variant": line.variant,
            "seed": line.seed,
            "place": range(1, len(tokens) + 1),
            "token": tokens,
            "text": token_strings(model.tokenizer, tokens),
            "probability": likeliest.values.double().tolist(),
            "rank": rank,
            "answer_probability": probability,
            "entropy": entropy,
            "kl": kl,
        }
    )
