"""Minimal pairs: where in the network, and at which words, the difference between two prompts is that makes the answer.

Each pair of Python prompts differs in one place, and so in what comes next. The corrupt prompt is read with some of the
residual stream as the clean one has it, and the question is how much of the clean prompt's answer comes back.

Before the first block all of it is where the prompts differ, behind the last one all of it is at the last word, and an
MLP takes nothing from one position to another: whatever the weights are. What they decide is whether it goes from the
one to the other without a stop between them, and which heads take it.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.dataset import Dataset
from models.tasks.minimal_pairs import KINDS, MinimalPairs, python_minimal_pairs
from workbench.experiments.patching_results import BEFORE, DIFFER, LAST, PLACES
from workbench.experiments.places import alike, by_place
from workbench.experiments.prompts import Prompts
from workbench.figures.patching_map import patching_map
from workbench.figures.patching_profile import patching_profile
from workbench.interventions.pairs import batch_of, run
from workbench.interventions.patching import DIRECTION, PATCH, activation_patching
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.python_source import python_source

TITLE = "What tells two prompts apart goes to the last word through one head"
PAPER = (
    "After Meng et al. 2022 (arXiv 2202.05262) and Wang et al. 2022 (arXiv 2211.00593), who patch language models on "
    "English"
)

N_PAIRS, N_CONTROLS = 64, 3
TRAINED, UNTRAINED = "trained", "untrained"
# Set before anything was measured. A kind whose answers the subject does not know has nothing to localise: after some
# minutes of training it knows brackets and quotes, and neither names nor keywords.
KNOWN, N_KNOWN = 0.75, 3
# Set when a trained subject's shares at both places and its best heads had been seen, and nothing untrained, no draw of
# a random direction within the stream, and nothing in deviations. That an untrained subject's attention must take less
# than `DIRECT` was added when it was seen that it takes as much: to go straight there is not learnt.
DIRECT, MOST_RANDOM = 0.9, 0.25
HEAD, TIMES = 0.5, 2.0
DEVIATIONS, TIMES_UNTRAINED = 3.0, 3.0


def reproduce(bench: Bench) -> list[Row]:
    """Patch the Python-source subject on every kind of pair, at every place; heads by themselves; and untrained."""
    made = python_source(bench)
    tokenizer = made.run.dataset(with_labels=False).tokenizer
    assert tokenizer is not None
    seeds = range(3 if bench.full else 1)
    subjects = {UNTRAINED: made.run.model(step=0), TRAINED: made.model}
    known, profiles, heads, maps = [], [], [], []
    for kind in KINDS:
        for seed in seeds:
            bench.tell(f"patching {kind} pairs, seed {seed}")
            pairs = python_minimal_pairs(kind, N_PAIRS, seed, tokenizer)
            for name, model in subjects.items():
                about = {"kind": kind, "draw": seed, "subject": name}
                known.append(about | told_apart(model, pairs))
                asked = pairs if name == TRAINED else as_said(model, pairs)
                profiles.append(profile(model, asked, seed).assign(**about))
                heads.append(by_head(model, asked, seed).assign(**about))
        maps.append(position_map(made.model, pairs, tokenizer).assign(kind=kind))
    answers, table, of_heads = pd.DataFrame(known), *(pd.concat(each, ignore_index=True) for each in (profiles, heads))
    knows = _known_kinds(answers)
    config: dict[str, Any] = {"pairs": N_PAIRS, "subject": made.inputs(bench)}
    shown = table[(table["subject"] == TRAINED) & (table["place"] != BEFORE) & table["kind"].isin(knows or KINDS)]
    bench.table("answers", answers, **config)
    bench.table("profile", table, patching_profile(shown), **config)
    bench.table("heads", of_heads, **config)
    for kind, found in zip(KINDS, maps, strict=True):
        words = found.drop_duplicates("position").set_index("position")["word"]
        figure = patching_map(found, [str(words.get(i, "")) for i in range(int(words.index.max()) + 1)])
        bench.table(f"map-{kind}", found, figure, **config)
    return _rows(answers, table, of_heads, knows)


@torch.inference_mode()
def told_apart(model: Any, pairs: MinimalPairs) -> dict[str, float]:
    """Whether a subject tells the prompts apart.

    Returns:
        `right`, the share of prompts, clean and corrupt, whose own answer is above the other; `gap`, the clean prompts'
        logit difference less the corrupt ones', in nats; `deviations`, the same in standard deviations of what the
        prompts differ by in two tokens drawn at random, which is the same at any scale of the logits.
    """
    clean, corrupt = _last_logits(model, pairs)
    rows = torch.arange(len(pairs))
    of_clean, of_corrupt = (each[rows, pairs.answer] - each[rows, pairs.wrong] for each in (clean, corrupt))
    right, gap = torch.cat([of_clean > 0, of_corrupt < 0]).double().mean(), (of_clean - of_corrupt).mean()
    of_two_tokens = (2 * (clean - corrupt).var(-1, correction=0).mean()).sqrt()
    return {"right": float(right), "gap": float(gap), "deviations": float(gap / of_two_tokens)}


@torch.inference_mode()
def as_said(model: Any, pairs: MinimalPairs) -> MinimalPairs:
    """The same pairs with the two answers changed over wherever the subject itself has it the other way round.

    So a subject that knows nothing has a gap of its own in every pair, and shares of it: of one that is right in all of
    them these are the same pairs.
    """
    clean, corrupt = _last_logits(model, pairs)
    apart, rows = clean - corrupt, torch.arange(len(pairs))
    kept = apart[rows, pairs.answer] >= apart[rows, pairs.wrong]
    answer, wrong = (
        torch.where(kept, own, other) for own, other in ((pairs.answer, pairs.wrong), (pairs.wrong, pairs.answer))
    )
    return replace(pairs, answer=answer, wrong=wrong)


def _last_logits(model: Any, pairs: MinimalPairs) -> list[Float[Tensor, "pair d_vocab"]]:
    """What clean and corrupt prompts are followed by, in double precision."""
    rows, found = torch.arange(len(pairs)), []
    for tokens in (pairs.clean, pairs.corrupt):
        output = run(model, batch_of(Dataset(tokens=tokens, mask=pairs.mask), rows))
        found.append(output[rows, pairs.position].double())
    return found


def answered(pairs: MinimalPairs) -> Prompts:
    """The pairs to patch; those that differ in their last word are left out: it is both places at once."""
    same = ~pairs.differs[torch.arange(len(pairs)), pairs.position]
    return Prompts.of(pairs).some(same.nonzero()[:, 0])


def profile(model: Any, pairs: MinimalPairs, seed: int) -> pd.DataFrame:
    """What patching all positions of a place restores, from the embedding to the last stream.

    Returns:
        A line for each hook of the residual stream, place and variant, as `by_place` gives it, with the hook's `stage`.
    """
    places = (BEFORE, *PLACES)
    found = by_place(model, answered(pairs), stream(model), places=places, n_controls=N_CONTROLS, seed=seed)
    return found.assign(stage=found["hook"].map(_short))


def by_head(model: Any, pairs: MinimalPairs, seed: int) -> pd.DataFrame:
    """What each head's output at the last position restores: `layer`, `head`, `variant`, `seed`, `effect`, …"""
    hooks = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    return by_place(model, answered(pairs), hooks, places=(LAST,), by=("head",), seed=seed)


def position_map(model: Any, pairs: MinimalPairs, tokenizer: Any) -> pd.DataFrame:
    """Position by position, of the largest group of pairs that are alike; `word` is the first pair's clean one."""
    prompts = answered(pairs)
    most = prompts.some(max((group.rows for group in alike(prompts)), key=len))
    found = activation_patching(model, most.clean, most.corrupt, most.metric, stream(model))
    first = most.clean.tokens[0].tolist()
    return found.assign(word=[tokenizer.decode([first[t]]) for t in found["position"]])


def stream(model: Any) -> list[str]:
    """The residual stream before the first block, and within and after each."""
    parts = [f"blocks.{layer}.hook_resid_{part}" for layer in range(model.cfg.n_layers) for part in ("mid", "post")]
    return ["blocks.0.hook_resid_pre", *parts]


def _short(hook: str) -> str:
    _, layer, name = hook.split(".")
    return f"{layer}.{name.removeprefix('hook_')}"


def handed_over(shares: pd.DataFrame) -> pd.Series:
    """How much each block's attention, and its MLP, takes from where the prompts differ straight to the last word.

    Args:
        shares: what patching a place restores, by stage of the stream (rows, in order) and place (columns).

    Returns:
        For each stage but the first what was lost at the one place and won at the other since the stage before: the
        smaller of the two.
    """
    steps = shares.diff().iloc[1:]
    return np.minimum(-steps[DIFFER], steps[LAST])


def _known_kinds(answers: pd.DataFrame) -> list[str]:
    least = answers[answers["subject"] == TRAINED].groupby("kind")["right"].min()
    return [kind for kind in KINDS if least[kind] >= KNOWN]


def _rows(answers: pd.DataFrame, table: pd.DataFrame, heads: pd.DataFrame, knows: list[str]) -> list[Row]:
    """What is judged of the kinds that the subject knows, behind what holds of any weights."""
    draws = f"{answers['draw'].nunique()} draw(s) of {N_PAIRS} pairs"
    judged = table[(table["subject"] == TRAINED) & table["kind"].isin(knows)]
    trained, untrained = (answers[answers["subject"] == name] for name in (TRAINED, UNTRAINED))
    said = "; ".join(f"{kind} {spread(trained.loc[trained['kind'] == kind, 'right'].tolist(), 2)}" for kind in KINDS)
    apart, before = (of.loc[of["kind"].isin(knows), "deviations"].to_numpy() for of in (trained, untrained))
    rows = [
        Row(
            f"prompts whose own answer is the likelier of the two; {draws}",
            "",
            f"{said}; untrained {spread(untrained['right'].tolist(), 2)}",
            f"≥ {KNOWN} in {N_KNOWN} of the {len(KINDS)} kinds, which are judged",
            len(knows) >= N_KNOWN,
        ),
        Row(
            "logit difference between the two prompts, in deviations of that of two tokens at random",
            "",
            f"{spread(apart.tolist(), 2)}; untrained {spread(before.tolist(), 2)}" if knows else "no kind is known",
            f"≥ {DEVIATIONS:g}, and {TIMES_UNTRAINED:g} × untrained, in each kind and draw",
            bool(knows and (apart >= np.maximum(DEVIATIONS, TIMES_UNTRAINED * np.abs(before))).all()),
        ),
    ]
    if knows:
        rows += _checks(judged)
    for kind in knows:
        rows += [_crossing(kind, table[table["kind"] == kind]), _head(kind, heads[heads["kind"] == kind])]
    return rows


def _checks(judged: pd.DataFrame) -> list[Row]:
    """What patching must find whatever the weights are: no evidence, and no bar."""
    first, last = judged["hook"].iloc[0], judged["hook"].iloc[-1]
    patches = judged[judged["variant"] == PATCH]

    def at(place: str, hook: str, variant: str) -> list[float]:
        here = (judged["place"] == place) & (judged["hook"] == hook) & (judged["variant"] == variant)
        return judged.loc[here, "effect"].tolist()

    def whole(place: str, hook: str, where: str) -> Row:
        told = f"{spread(at(place, hook, PATCH))}; random directions {spread(at(place, hook, DIRECTION))}"
        return Row(f"check: share of the answer restored {where}", "everything", told)

    by_mlps = max(_by_mlps(handed_over(shares)) for _, shares in _paths(patches))
    before = patches.loc[patches["place"] == BEFORE, "effect"].abs().max()
    return [
        Row("check: share restored before the prompts differ, anywhere in the stream", "nothing", f"{before:.1e}"),
        whole(DIFFER, first, "where the prompts differ, at the embedding"),
        whole(LAST, last, "at the last word, in the last stream"),
        Row("check: share that any MLP takes from one place to the other", "nothing", f"{by_mlps:.1e} at most"),
    ]


def _paths(patches: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    """Of each kind and draw, the shares by stage and place."""
    return [
        (names, of.pivot_table("effect", "stage", "place", sort=False))
        for names, of in patches.groupby(["kind", "draw"], sort=False)
    ]


def _by_mlps(moved: pd.Series) -> float:
    return float(moved[moved.index.str.endswith("post")].abs().max())


def _by_attention(moved: pd.Series) -> float:
    return float(moved[moved.index.str.endswith("mid")].sum())


def _crossing(kind: str, table: pd.DataFrame) -> Row:
    """What attention takes straight from the one place to the other, all blocks together."""
    patches = table[table["variant"] == PATCH]
    direct = {
        name: [_by_attention(handed_over(shares)) for _, shares in _paths(patches[patches["subject"] == name])]
        for name in (TRAINED, UNTRAINED)
    }
    own = table[table["subject"] == TRAINED]
    of = own[own["variant"] == PATCH].groupby(["place", "stage"], sort=False)["effect"].mean()
    stages = of[DIFFER].index
    path = ", ".join(f"{stage} {of[DIFFER, stage]:.2f}/{of[LAST, stage]:.2f}" for stage in stages)
    within = own[(own["variant"] == DIRECTION) & own["place"].isin([DIFFER, LAST]) & own["stage"].isin(stages[1:-1])]
    random = float(within["effect"].abs().max())
    return Row(
        f"{kind}: share that attention takes straight from where the prompts differ to the last word",
        "from the one to the other in middle layers, by attention",
        f"{spread(direct[TRAINED])}; untrained {spread(direct[UNTRAINED])}; random directions in between restore "
        f"{random:.2f} at most; where they differ / at the last word {path}",
        f"≥ {DIRECT}, untrained less, random within ±{MOST_RANDOM}, in each draw",
        min(direct[TRAINED]) >= DIRECT > max(direct[UNTRAINED]) and random <= MOST_RANDOM,
    )


def _head(kind: str, heads: pd.DataFrame) -> Row:
    """The head that brings the most of it to the last word, beside all others, turned ones and untrained ones."""
    by = heads.pivot_table("effect", ["subject", "variant", "draw"], ["layer", "head"], aggfunc=_largest)
    own = by.loc[TRAINED, PATCH]
    best = own.mean().idxmax()
    beside = {
        "the next": own.drop(columns=[best]).max(axis=1),
        "a random direction": by.loc[TRAINED, DIRECTION].abs().max(axis=1),
        "the best untrained head": by.loc[UNTRAINED, PATCH].max(axis=1),
    }
    least = pd.concat([*(TIMES * of for of in beside.values())], axis=1).max(axis=1).clip(lower=HEAD)
    return Row(
        f"{kind}: share that head {best[0]}.{best[1]} brings to the last word",
        "by few heads",
        "; ".join([spread(own[best].tolist()), *(f"{name} {spread(of.tolist())}" for name, of in beside.items())]),
        f"≥ {HEAD}, and {TIMES:g} × each of the others, in each draw",
        bool((own[best] >= least).all()),
    )


def _largest(effects: pd.Series) -> float:
    """Of several draws of a random direction, that furthest from nothing; of a patch, its own."""
    return float(effects.loc[effects.abs().idxmax()])
