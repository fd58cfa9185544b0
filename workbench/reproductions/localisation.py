"""Minimal pairs: where in the network, and at which words, the difference between two prompts is that makes the answer.

Each pair of Python prompts differs in one place, and so in what comes next. The corrupt prompt is read with some of the
residual stream as the clean one has it, and the question is how much of the clean prompt's answer comes back.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from models.dataset import Dataset
from models.tasks.minimal_pairs import KINDS, MinimalPairs, python_minimal_pairs
from workbench.figures.patching_map import patching_map
from workbench.figures.patching_profile import patching_profile
from workbench.interventions.metrics import LogitDifference
from workbench.interventions.pairs import batch_of, run
from workbench.interventions.patching import DIRECTION, PATCH, activation_patching
from workbench.patching.places import alike, by_place
from workbench.patching.prompts import Prompts
from workbench.patching.results import BEFORE, DIFFER, LAST, PLACES
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.python_source import python_source

TITLE = "An answer is where the prompts differ, then at the last word, and attention takes it there"
PAPER = (
    "After Meng et al. 2022 (arXiv 2202.05262) and Wang et al. 2022 (arXiv 2211.00593), who patch language models on "
    "English"
)

N_PAIRS, N_CONTROLS = 64, 3
# Set before anything was measured. A kind whose answers the subject does not know has nothing to localise: after some
# minutes of training it knows brackets and quotes, and neither names nor keywords.
KNOWN, N_KNOWN = 0.75, 3
NOTHING, EVERYTHING, MOST_RANDOM, MOST_UNTRAINED = 0.001, 0.99, 0.25, 0.1


def reproduce(bench: Bench) -> list[Row]:
    """Patch the Python-source subject on every kind of pair, at every place; heads by themselves; and untrained."""
    made = python_source(bench)
    tokenizer = made.run.dataset(with_labels=False).tokenizer
    assert tokenizer is not None
    seeds = range(3 if bench.full else 1)
    known, profiles, heads, maps = [], [], [], []
    for kind in KINDS:
        for seed in seeds:
            bench.tell(f"patching {kind} pairs, seed {seed}")
            pairs = python_minimal_pairs(kind, N_PAIRS, seed, tokenizer)
            about = {"kind": kind, "draw": seed}
            known += [about | told_apart(model, pairs) | {"stage": stage} for stage, model in _stages(made.run)]
            profiles.append(profile(made.model, pairs, seed).assign(**about))
            heads.append(by_head(made.model, pairs, seed).assign(**about))
        maps.append(position_map(made.model, pairs, tokenizer).assign(kind=kind))
    answers, table = pd.DataFrame(known), pd.concat(profiles, ignore_index=True)
    knows = _known_kinds(answers)
    config: dict[str, Any] = {"pairs": N_PAIRS, "subject": made.inputs(bench)}
    shown = table[(table["place"] != BEFORE) & table["kind"].isin(knows or KINDS)]
    bench.table("answers", answers, **config)
    bench.table("profile", table, patching_profile(shown), **config)
    bench.table("heads", pd.concat(heads, ignore_index=True), **config)
    for kind, found in zip(KINDS, maps, strict=True):
        words = found.drop_duplicates("position").set_index("position")["word"]
        figure = patching_map(found, [str(words.get(i, "")) for i in range(int(words.index.max()) + 1)])
        bench.table(f"map-{kind}", found, figure, **config)
    return _rows(answers, table, pd.concat(heads, ignore_index=True), knows)


@torch.inference_mode()
def told_apart(model: Any, pairs: MinimalPairs) -> dict[str, float]:
    """Whether a subject tells the prompts apart.

    Returns:
        `right`, the share of prompts, clean and corrupt, whose own answer is above the other; `gap`, the clean prompts'
        logit difference less the corrupt ones', in nats.
    """
    metric, values = LogitDifference.of(pairs), []
    for tokens in (pairs.clean, pairs.corrupt):
        batch = batch_of(Dataset(tokens=tokens, mask=pairs.mask), torch.arange(len(pairs)))
        values.append(metric(run(model, batch), batch))
    clean, corrupt = values
    right = torch.cat([clean > 0, corrupt < 0]).double().mean()
    return {"right": float(right), "gap": float((clean - corrupt).double().mean())}


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


def _stages(run: Any) -> list[tuple[str, Any]]:
    return [("untrained", run.model(step=0)), ("trained", run.model())]


def _short(hook: str) -> str:
    _, layer, name = hook.split(".")
    return f"{layer}.{name.removeprefix('hook_')}"


def _known_kinds(answers: pd.DataFrame) -> list[str]:
    least = answers[answers["stage"] == "trained"].groupby("kind")["right"].min()
    return [kind for kind in KINDS if least[kind] >= KNOWN]


def _rows(answers: pd.DataFrame, table: pd.DataFrame, heads: pd.DataFrame, knows: list[str]) -> list[Row]:
    """What is judged of the kinds that the subject knows."""
    draws = f"{answers['draw'].nunique()} draw(s) of {N_PAIRS} pairs"
    judged = table[table["kind"].isin(knows)]
    first, last = table["hook"].iloc[0], table["hook"].iloc[-1]

    def effects(place: str, hook: str | None = None, variant: str = PATCH) -> list[float]:
        of = judged[(judged["place"] == place) & (judged["variant"] == variant)]
        return of.loc[of["hook"] == hook if hook else slice(None), "effect"].tolist()

    def whole(place: str, hook: str, where: str) -> Row:
        found, random = effects(place, hook), effects(place, hook, DIRECTION)
        ok = bool(found and np.min(found) >= EVERYTHING and np.max(np.abs(random)) <= MOST_RANDOM)
        told = f"{spread(found)}; random directions {spread(random)}" if found else "no kind is known"
        bar = f"≥ {EVERYTHING}, random within ±{MOST_RANDOM}, in each kind and draw"
        return Row(f"share of the answer restored {where}", "everything", told, bar, ok)

    trained, untrained = (answers[answers["stage"] == stage] for stage in ("trained", "untrained"))
    gaps = np.abs(untrained["gap"].to_numpy() / trained["gap"].to_numpy())[trained["kind"].isin(knows).to_numpy()]
    said = "; ".join(f"{kind} {spread(trained.loc[trained['kind'] == kind, 'right'].tolist(), 2)}" for kind in KINDS)
    before = effects(BEFORE)
    return [
        Row(
            f"prompts whose own answer is the likelier of the two; {draws}",
            "",
            f"{said}; untrained {spread(untrained['right'].tolist(), 2)}",
            f"≥ {KNOWN} in {N_KNOWN} of the {len(KINDS)} kinds, which are judged",
            len(knows) >= N_KNOWN,
        ),
        Row(
            "share restored before the prompts differ, anywhere in the stream",
            "nothing",
            f"at most {np.max(np.abs(before)):.1e}" if before else "no kind has such words",
            f"within ±{NOTHING}",
            bool(before and np.max(np.abs(before)) <= NOTHING),
        ),
        whole(DIFFER, first, "where the prompts differ, at the embedding"),
        whole(LAST, last, "at the last word, in the last stream"),
        *_crossings(judged, heads[heads["kind"].isin(knows)], knows),
        Row(
            "logit difference between the two prompts before training, of that after",
            "",
            f"{spread(gaps.tolist())}" if len(gaps) else "no kind is known",
            f"≤ {MOST_UNTRAINED}: there is nothing to restore",
            bool(len(gaps) and np.max(gaps) <= MOST_UNTRAINED),
        ),
    ]


def _crossings(judged: pd.DataFrame, heads: pd.DataFrame, knows: list[str]) -> list[Row]:
    """Of each kind, layer by layer, what is at the last word, and the head that brings the most of it."""
    rows = []
    patches = judged[judged["variant"] == PATCH]
    for kind in knows:
        of = patches[patches["kind"] == kind].groupby(["place", "stage"], sort=False)["effect"].mean()
        path = ", ".join(f"{stage} {of[DIFFER, stage]:.2f}/{of[LAST, stage]:.2f}" for stage in of[DIFFER].index)
        by = heads[heads["kind"] == kind].groupby(["variant", "layer", "head"])["effect"].mean()
        layer, head = by[PATCH].idxmax()
        rows.append(
            Row(
                f"{kind}: share restored where the prompts differ / at the last word, through the stream",
                "from the one to the other in middle layers, by attention",
                f"{path}; head {layer}.{head} at the last word {by[PATCH, layer, head]:.2f}, the next "
                f"{by[PATCH].nlargest(2).iloc[1]:.2f}, random {by[DIRECTION].abs().max():.2f} at most",
            )
        )
    return rows
