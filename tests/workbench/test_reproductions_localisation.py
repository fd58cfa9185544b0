"""Localisation by minimal pairs: each place patched as by hand, and what must be restored whatever the weights are."""

import numpy as np
import pandas as pd
import pytest
import torch

from models import Transformer, TransformerConfig
from models.tasks.minimal_pairs import KINDS, MinimalPairs
from workbench.figures.patching_map import patching_map
from workbench.figures.patching_profile import patching_profile
from workbench.patching.places import alike
from workbench.patching.prompts import Prompts
from workbench.patching.results import BEFORE, BETWEEN, DIFFER, LAST
from workbench.reproductions import localisation
from workbench.reproductions.localisation import answered, by_head, profile, stream

VOCAB, TIME = 15, 7


class Words:
    """What stands for a tokenizer."""

    def decode(self, ids):
        return f"w{ids[0]}"


@pytest.fixture(scope="module")
def model():
    subject = Transformer(TransformerConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=16, n_ctx=TIME, d_vocab=VOCAB))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in subject.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return subject


@pytest.fixture(scope="module")
def pairs():
    """Six pairs: three differ at 2 and end at 5, two at 1 and 3 and end at 6, one in its last word."""
    generator = torch.Generator().manual_seed(0)
    position = torch.tensor([5, 6, 5, 5, 6, 4])
    mask = torch.arange(TIME) <= position[:, None]
    clean = torch.randint(1, VOCAB, (6, TIME), generator=generator) * mask
    clean[:, 0] = 0
    differs = torch.zeros_like(mask)
    for row, where in enumerate(([2], [1, 3], [2], [2], [1, 3], [4])):
        differs[row, where] = True
    corrupt = torch.where(differs, clean % (VOCAB - 1) + 1, clean)
    answers = torch.stack([torch.randperm(VOCAB, generator=generator)[:2] for _ in range(6)])
    texts = [str(row) for row in range(6)]
    return MinimalPairs(texts, texts, clean, corrupt, mask, differs, position, answers[:, 0], answers[:, 1])


def test_pairs_are_grouped_by_where_they_differ_and_end_and_bos_is_no_place(pairs):
    groups = {tuple(group.rows.tolist()): group.places for group in alike(Prompts.of(pairs))}
    assert groups == {
        (0, 2, 3): {BEFORE: [1], DIFFER: [2], BETWEEN: [3, 4], LAST: [5]},
        (1, 4): {BEFORE: [], DIFFER: [1, 3], BETWEEN: [2, 4, 5], LAST: [6]},
        (5,): {BEFORE: [1, 2, 3], DIFFER: [], BETWEEN: [], LAST: [4]},
    }
    assert len(answered(pairs)) == 5, "a pair that differs in its last word is left out"


def answer_over_wrong(logits, pairs):
    """By how much, after the last token of each prompt."""
    return torch.stack(
        [
            logits[i, int(mask.sum()) - 1, answer] - logits[i, int(mask.sum()) - 1, wrong]
            for i, (mask, answer, wrong) in enumerate(zip(pairs.mask, pairs.answer, pairs.wrong, strict=True))
        ]
    )


@torch.no_grad()
def restored_by_hand(model, pairs, hook, where, head=None):
    """All pairs in one run, the clean values put in by a mask."""
    rows = torch.arange(5)
    _, cache = model.run_with_cache(pairs.clean, mask=pairs.mask, names_filter=hook)

    def put(value, hook):
        here = where.view(*where.shape, *[1] * (value.ndim - 2)).expand_as(value).clone()
        if head is not None:
            here[:, :, [h for h in range(value.shape[2]) if h != head]] = False
        return torch.where(here, cache[hook.name], value)

    patched = model.run_with_hooks(pairs.corrupt, mask=pairs.mask, fwd_hooks=[(hook, put)])
    ends = [model(tokens, mask=pairs.mask) for tokens in (pairs.clean, pairs.corrupt)]
    value, clean, corrupt = (answer_over_wrong(x, pairs)[rows].mean() for x in (patched, *ends))
    return float((value - corrupt) / (clean - corrupt))


def test_a_place_restores_what_patching_all_pairs_there_by_hand_restores(model, pairs):
    table = profile(model, pairs, seed=0)
    patches = table[table["variant"] == "patch"].set_index(["hook", "place"])
    last = torch.arange(TIME) == pairs.position[:, None]
    between = pairs.mask & ~last & ~pairs.differs & (pairs.differs.cumsum(1) > 0)
    for hook in stream(model):
        for place, where in ((DIFFER, pairs.differs), (LAST, last), (BETWEEN, between)):
            line = patches.loc[(hook, place)]
            assert line["effect"] == pytest.approx(restored_by_hand(model, pairs, hook, where), abs=1e-4)
            assert line["sequences"] == 5
        assert patches.loc[(hook, BEFORE), "effect"] == pytest.approx(0, abs=1e-5)
    assert patches.loc[(stream(model)[0], DIFFER), "effect"] == pytest.approx(1, abs=1e-5)
    assert patches.loc[(stream(model)[-1], LAST), "effect"] == pytest.approx(1, abs=1e-5)
    for part in (DIFFER, LAST):  # what is at a word stays there through an MLP
        for layer in (0, 1):
            mid, post = (patches.loc[(f"blocks.{layer}.hook_resid_{end}", part), "effect"] for end in ("mid", "post"))
            assert mid == pytest.approx(post, abs=1e-5)
    assert table["stage"].unique().tolist() == [
        "0.resid_pre",
        "0.resid_mid",
        "0.resid_post",
        "1.resid_mid",
        "1.resid_post",
    ]
    assert (table[table["variant"] == "random direction"].groupby(["hook", "place"]).size() == 3).all()


def test_a_head_restores_what_its_own_output_at_the_last_word_does(model, pairs):
    heads = by_head(model, pairs, seed=0)
    heads = heads[heads["variant"] == "patch"].set_index(["layer", "head"])["effect"]
    last = torch.arange(TIME) == pairs.position[:, None]
    assert len(heads) == 4
    for (layer, head), effect in heads.items():
        by_hand = restored_by_hand(model, pairs, f"blocks.{layer}.attn.hook_z", last, head)
        assert effect == pytest.approx(by_hand, abs=1e-4)


def test_what_a_subject_knows_is_counted_in_both_prompts(model, pairs):
    with torch.no_grad():
        clean, corrupt = (answer_over_wrong(model(x, mask=pairs.mask), pairs) for x in (pairs.clean, pairs.corrupt))
    told = localisation.told_apart(model, pairs)
    assert told["right"] == pytest.approx(float((torch.cat([clean, -corrupt]) > 0).double().mean()))
    assert told["gap"] == pytest.approx(float((clean - corrupt).mean()), rel=1e-5)


def test_the_map_is_of_the_largest_group_with_the_words_of_its_first_pair(model, pairs):
    found = localisation.position_map(model, pairs, Words())
    assert sorted(found["position"].unique()) == [1, 2, 3, 4, 5]
    assert found["sequences"].eq(3).all()
    assert found.loc[found["position"] == 2, "word"].eq(f"w{int(pairs.clean[0, 2])}").all()
    assert patching_map(found, [f"w{i}" for i in range(TIME)]).to_dict()


def test_only_kinds_that_are_known_are_judged_by_the_bars(model, pairs):
    table = profile(model, pairs, seed=0)
    heads = by_head(model, pairs, seed=0)
    profiles = pd.concat([table.assign(kind=kind, draw=0) for kind in KINDS], ignore_index=True)
    of_heads = pd.concat([heads.assign(kind=kind, draw=0) for kind in KINDS], ignore_index=True)
    profiles.loc[profiles["variant"] == "random direction", "effect"] = 0.1
    profiles.loc[profiles["kind"] == "name", "effect"] = np.inf  # what is not known says nothing
    right = {"bracket": 0.9, "quote": 0.8, "name": 0.5, "keyword": 0.75}
    answers = pd.DataFrame(
        [
            {"kind": kind, "draw": 0, "stage": stage, "right": share if stage == "trained" else 0.5, "gap": gap}
            for kind, share in right.items()
            for stage, gap in (("untrained", 0.1), ("trained", 5.0))
        ]
    )

    def rows():
        return localisation._rows(answers, profiles, of_heads, localisation._known_kinds(answers))

    judged = [row for row in rows() if row.bar]
    assert [row.passed for row in judged] == [True] * 5
    assert sum(not row.bar for row in rows()) == 3
    answers.loc[(answers["kind"] == "keyword") & (answers["stage"] == "trained"), "right"] = 0.7
    assert [row.passed for row in rows() if row.bar] == [False, True, True, True, True]
    profiles.loc[profiles["variant"] == "random direction", "effect"] = 0.3
    assert [row.passed for row in rows() if row.bar] == [False, True, False, False, True]
    assert patching_profile(table[table["place"] != BEFORE]).to_dict()
