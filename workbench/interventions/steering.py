"""`steer`: what a subject says while its activations are edited, beside what it says unedited.

towards = steering_direction(model, ["def f(self):"], ["x = 1"], hook)
texts = steer(model, ["class A:\\n"], {f"{s:+}": add(towards, s) for s in (1.0, 2.0)}, hook, score=brackets)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.evaluation import accepted, as_evaluated
from models.generation import Generation
from models.loss import IGNORED, token_losses
from models.progress import progress
from workbench.activations.recorder import axis_of
from workbench.interventions.controls import along_random
from workbench.interventions.edits import Edit
from workbench.interventions.intervals import mean_over_documents
from workbench.interventions.many import Job, by_job
from workbench.interventions.pairs import Given, as_dataset, batch_of
from workbench.interventions.positions import editable
from workbench.interventions.replacing import replacing
from workbench.interventions.subspace import Subspace
from workbench.interventions.values import values_at

Prompts = Given | str | Sequence[str]
Score = Callable[[Int[Tensor, " new"]], float]

UNSTEERED, STEERED, RANDOM = "unsteered", "steered", "random direction"
COLUMNS = (
    *("hook", "sequence", "prompt", "edit", "kind", "strength", "variant", "seed"),
    *("text", "tokens", "loss", "perplexity", "score"),
)
EFFECT_COLUMNS = (
    *("hook", "edit", "kind", "strength", "variant", "seed", "measure", "value", "low", "high"),
    *("unsteered", "effect", "effect_low", "effect_high", "sequences"),
)


class _Line(NamedTuple):
    """What one generation is made under."""

    name: str
    edit: Edit | None
    variant: str
    seed: int | None


class _Said(NamedTuple):
    """What a subject went on to say, and how unlikely that is to the subject unedited, in nats a token."""

    tokens: list[int]
    loss: float


def steer(
    model: Any,
    prompts: Prompts,
    edits: Edit | Mapping[str, Edit],
    hook_name: str,
    *,
    max_new: int = 20,
    prompt_too: bool = True,
    n_controls: int = 3,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    eos: int | None = None,
    score: Score | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Let a subject go on from prompts while what stands at a hook is edited at every position.

    Everything is said under the same draws: texts of one prompt differ by what the edit changes and by nothing else,
    and an edit that moves nothing gives the unsteered text. A recurrent subject's state is edited at every step.

    Args:
        model: a subject that generates: a decoder-only transformer or a recurrent network, over tokens.
        prompts: text, or sequences that start with BOS; of different lengths if need be.
        edits: one, or several by name: `add` along a `steering_direction`, along a probe's (`Subspace.of_probe`), or
            along an SAE latent's (`Subspace.along(sae.W_dec[i])`); `set_to`, `project_out`, …
        hook_name: where.
        max_new: how many tokens each prompt gets.
        prompt_too: whether the prompt's positions (but BOS) are edited, or what is said after it alone.
        n_controls: for each edit, so many as large along random directions, drawn with `seed`, `seed + 1`, …
        temperature: 0 takes the likeliest token; above 0 tokens are drawn, with `top_k` and `top_p` as in `generate`.
        eos: the token at which a text ends.
        score: of a text's new tokens `[new]` one number: `lambda new: torch.isin(new, brackets).double().mean()`.
        batch_size: texts that are made at a time, whatever prompt and edit they belong to.
        seed: of the draws, and of the first random directions.

    Returns:
        A line for each prompt unsteered, under each edit (`steered`) and under each control (`random direction`):
        `text` and `tokens` are the new ones; `loss`, in nats a new token, and `perplexity`, its exponential, are what
        the unedited subject thinks of them (how fluent the text still is); `score` is NaN where none was given.

    Raises:
        ValueError: the subject does not generate, no hook has that name, the edit's directions are not as wide as what
            stands there, an edit makes NaN, the score is no number, or what `generate` refuses.
    """
    data = _read(model, prompts)
    named = {edits.name: edits} if isinstance(edits, Edit) else dict(edits)
    if not named:
        raise ValueError("no edits were given: name at least one.")
    for value, name in ((max_new, "max_new"), (batch_size, "batch_size")):
        whole_number(value, name, least=1)
    whole_number(n_controls, "n_controls")
    lines = [_Line("", None, UNSTEERED, None)]
    for name, edit in named.items():
        lines.append(_Line(name, edit, STEERED, None))
        lines += [_Line(name, along_random(edit, s), RANDOM, s) for s in range(seed, seed + n_controls)]
    where = _where(model, data, hook_name, prompt_too)
    drawn = torch.rand(len(data), max_new, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "eos": eos}
    order = torch.cartesian_prod(torch.arange(len(lines)), torch.arange(len(data)))
    jobs, said = [Job(line.edit, where) for line in lines], []
    with as_evaluated(model), torch.inference_mode():
        _refuse_unfit(model, data, hook_name, list(named.values()))
        for rows in progress(order.split(batch_size), desc="steering", unit="pass"):
            line, seq = rows.T
            hook = replacing(where[seq], by_job(jobs, line), ~data.mask[seq])
            draws = {"draws": drawn[seq]} if temperature else {}
            said += _generated(model, data, seq, [(hook_name, hook)], max_new, sampling | draws)
    texts = _prompt_texts(model, data)
    found = []
    for (line, seq), new in zip(order.tolist(), said, strict=True):
        name, edit, variant, draw = lines[line]
        about = {"hook": hook_name, "sequence": seq, "prompt": texts[seq], "edit": name, "variant": variant}
        about |= {"kind": edit.name if edit else "", "strength": edit.strength if edit else 0.0, "seed": draw}
        about |= {"text": _text(model, new.tokens), "tokens": new.tokens, "loss": new.loss}
        found.append(about | {"perplexity": float(np.exp(new.loss)), "score": _scored(score, new.tokens)})
    return pd.DataFrame(found, columns=list(COLUMNS)).astype({"sequence": "Int64", "seed": "Int64"})


def steering_effects(texts: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """What steering changed on average: the `score` and the `loss` of each edit's texts and of each control's.

    Args:
        texts: as `steer` gives them.
        seed: of the intervals.

    Returns:
        For each edit, variant, draw and measure the mean over prompts, the unsteered mean, and the difference between
        the two, each with an interval (95%, over prompts; NaN of one).
    """
    found = []
    for measure in ("score", "loss"):
        kept = texts[texts[measure].notna()]
        before = kept[kept["variant"] == UNSTEERED].set_index("sequence")[measure]
        ways = kept[kept["variant"] != UNSTEERED].groupby(
            ["hook", "edit", "kind", "strength", "variant", "seed"], sort=False, dropna=False
        )
        for key, of in ways:
            value = of.set_index("sequence")[measure]
            both = np.stack([value, value - before.loc[value.index]])
            mean, low, high = mean_over_documents(both, np.arange(both.shape[1]), seed=seed)
            about = dict(zip(("hook", "edit", "kind", "strength", "variant", "seed"), key, strict=True))
            about |= {"measure": measure, "value": mean[0], "low": low[0], "high": high[0], "unsteered": before.mean()}
            about |= {"effect": mean[1], "effect_low": low[1], "effect_high": high[1], "sequences": both.shape[1]}
            found.append(about)
    return pd.DataFrame(found, columns=list(EFFECT_COLUMNS)).astype({"seed": "Int64"})


def steering_direction(
    model: Any, positive: Prompts, negative: Prompts, hook_name: str, *, last: bool = False, batch_size: int = 64
) -> Subspace:
    """From the mean of what stands at a hook on some sequences to its mean on others.

    `add(direction, 1)` goes all the way from one to the other.

    Args:
        model: any subject.
        positive: sequences, or text, whose mean the direction points to.
        negative: those that it comes from.
        hook_name: where.
        last: take each sequence's last position alone; all but BOS and padding otherwise.
        batch_size: sequences a pass.

    Raises:
        ValueError: no hook has that name, there is nothing to average, or the means are not apart.
    """
    whole_number(batch_size, "batch_size", least=1)
    with as_evaluated(model), torch.inference_mode():
        means = [_mean(model, _read(model, given), hook_name, last, batch_size) for given in (negative, positive)]
    return Subspace.between(*means)


def steerable(model: Any) -> dict[str, int]:
    """The hooks of a subject of tokens that have one row a token, and how wide it is, as a run on two tokens shows."""
    found: dict[str, int] = {}

    def see(value: Any, hook: Any) -> None:
        if isinstance(value, Tensor) and value.ndim == 3 and value.shape[-1] > 1 and value.is_floating_point():
            found[str(hook.name)] = int(value.shape[-1])

    names = [name for name in model.hook_dict if axis_of(model, name) == "target"]
    with as_evaluated(model), torch.inference_mode(), model.hooks(fwd_hooks=[(name, see) for name in names]):
        model(torch.full((1, 2), model.bos))
    return {name: found[name] for name in model.hook_dict if name in found}


def _read(model: Any, prompts: Prompts) -> Dataset:
    if isinstance(prompts, Dataset | Tensor):
        return as_dataset(prompts)
    tokens, mask = model.encode_texts([prompts] if isinstance(prompts, str) else list(prompts))
    return Dataset(tokens=tokens.cpu(), mask=mask.cpu())


def _mean(model: Any, data: Dataset, hook_name: str, last: bool, batch_size: int) -> Float[Tensor, " d"]:
    (hook,) = model.match_hooks(hook_name)
    where = editable(model, data, hook)
    if last:
        where = where & (where.flip(1).cumsum(1).flip(1) == 1)
    if not where.any():
        raise ValueError("these sequences have no positions but BOS: there is nothing to average.")
    total, n = torch.zeros((), dtype=torch.float64), int(where.sum())
    for seq in torch.arange(len(data)).split(batch_size):
        total = total + values_at(model, batch_of(data, seq), [hook])[hook][where[seq]].flatten(1).double().sum(0).cpu()
    return total / n


def _where(model: Any, data: Dataset, hook_name: str, prompt_too: bool) -> Bool[Tensor, "seq pos"]:
    """The positions of the prompts that are edited."""
    generates: bool = isinstance(model, Generation)
    if not generates:
        raise ValueError(f"a {type(model).__name__} does not go on from prompts: steer one that generates.")
    (hook,) = model.match_hooks(hook_name)
    if axis_of(model, hook) != "target":
        raise ValueError(f"{hook} has no rows of the tokens that are said: choose a hook that has.")
    able = editable(model, data, hook)
    return able if prompt_too else torch.zeros_like(able)


def _refuse_unfit(model: Any, data: Dataset, hook_name: str, edits: Sequence[Edit]) -> None:
    """Before any long work: the widths, on the first prompt."""
    (hook,) = model.match_hooks(hook_name)
    value = values_at(model, batch_of(data, torch.tensor([0])), [hook])[hook].flatten(2)
    for edit in edits:
        edit.subspace.refuse_width(value)


def _generated(
    model: Any, data: Dataset, seq: Int[Tensor, " batch"], hooks: list, max_new: int, sampling: dict[str, Any]
) -> list[_Said]:
    """Go on from some prompts under hooks, and ask the subject without them what it thinks of that."""
    lengths = data.mask[seq].sum(1)
    with model.hooks(fwd_hooks=hooks):
        made = model.generate(data.tokens[seq], max_new, mask=data.mask[seq], **sampling).cpu()
    ends = []
    for row, length in zip(made.tolist(), lengths.tolist(), strict=True):
        new = row[length : length + max_new]
        ends.append(length + (new.index(sampling["eos"]) + 1 if sampling["eos"] in new else len(new)))
    at = torch.arange(made.shape[1])
    real = at < torch.tensor(ends)[:, None]
    batch = {"input": made, "mask": real}
    is_new = (real & (at >= lengths[:, None]))[:, 1:]
    targets = torch.where(is_new, made[:, 1:], IGNORED)
    logits = model(**accepted(model, batch))[:, :-1]
    loss = token_losses(logits.float(), targets.to(logits.device)).cpu().sum(1) / is_new.sum(1)
    rows = zip(made.tolist(), lengths.tolist(), ends, loss.tolist(), strict=True)
    return [_Said(row[start:end], nats) for row, start, end, nats in rows]


def _prompt_texts(model: Any, data: Dataset) -> list[str]:
    """The prompts' texts, without BOS."""
    return [_text(model, row[counted].tolist()) for row, counted in zip(data.tokens, data.counted, strict=True)]


def _text(model: Any, tokens: list[int]) -> str:
    """Of token ids; the ids themselves where there is no tokenizer."""
    return " ".join(map(str, tokens)) if model.tokenizer is None else model.to_string(torch.tensor(tokens).long())


def _scored(score: Score | None, tokens: list[int]) -> float:
    if score is None:
        return math.nan
    value = float(score(torch.tensor(tokens)))
    if not math.isfinite(value):
        raise ValueError("the score is NaN or infinite for some text: it must be a number for each.")
    return value
