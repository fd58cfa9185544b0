"""Localisation by minimal pairs: each place patched as by hand, and what must be restored whatever the weights are."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from models import Transformer, TransformerConfig
from models.tasks.minimal_pairs import MinimalPairs
from workbench.experiments.patching_results import BEFORE, BETWEEN, DIFFER, LAST
from workbench.experiments.places import alike
from workbench.experiments.prompts import Prompts
from workbench.figures.patching_map import patching_map
from workbench.figures.patching_profile import patching_profile
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


@pytest.fixture(scope="module")
def arbitrary(model, pairs):
    """The profile and the heads of a subject whose weights are arbitrary."""
    return profile(model, pairs, seed=0), by_head(model, pairs, seed=0)


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


def test_a_place_restores_what_patching_all_pairs_there_by_hand_restores(model, pairs, arbitrary):
    table, _ = arbitrary
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


def test_a_head_restores_what_its_own_output_at_the_last_word_does(model, pairs, arbitrary):
    _, heads = arbitrary
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
    with torch.no_grad():
        ends = [model(x, mask=pairs.mask)[torch.arange(6), pairs.position] for x in (pairs.clean, pairs.corrupt)]
    apart = (ends[0] - ends[1]).double()
    squares = [(row[:, None] - row).square().mean() for row in apart]  # of all pairs of tokens
    assert told["deviations"] == pytest.approx(told["gap"] / float(torch.stack(squares).mean().sqrt()), rel=1e-4)


def test_a_subject_whose_logits_are_ten_times_as_large_is_as_many_deviations_apart(model, pairs):
    louder = copy.deepcopy(model)
    with torch.no_grad():
        louder.unembed.W_U.mul_(10)
        louder.unembed.b_U.mul_(10)
    soft, loud = (localisation.told_apart(subject, pairs) for subject in (model, louder))
    assert loud["gap"] == pytest.approx(10 * soft["gap"], rel=1e-4)
    assert loud["deviations"] == pytest.approx(soft["deviations"], rel=1e-4)


def test_answers_are_changed_over_where_the_subject_has_them_the_other_way_round(model, pairs):
    def gaps(asked):
        with torch.no_grad():
            clean, corrupt = (answer_over_wrong(model(x, mask=asked.mask), asked) for x in (asked.clean, asked.corrupt))
        return clean - corrupt

    before, said = gaps(pairs), localisation.as_said(model, pairs)
    assert (before < 0).any()
    assert torch.allclose(gaps(said), before.abs())
    again = localisation.as_said(model, said)
    assert torch.equal(again.answer, said.answer)
    assert torch.equal(again.wrong, said.wrong)


def test_what_stops_in_between_is_not_handed_over():
    stages = ["0.resid_pre", "0.resid_mid", "0.resid_post", "1.resid_mid", "1.resid_post"]
    straight = pd.DataFrame({DIFFER: [1, 0.7, 0.7, 0, 0], LAST: [0, 0.3, 0.3, 1, 1]}, index=stages)
    assert localisation.handed_over(straight).tolist() == pytest.approx([0.3, 0, 0.7, 0])
    stopping = pd.DataFrame({DIFFER: [1, 0.2, 0.2, 0, 0], LAST: [0, 0, 0, 1, 1]}, index=stages)
    assert localisation.handed_over(stopping).tolist() == pytest.approx([0, 0, 0.2, 0])


def test_the_map_is_of_the_largest_group_with_the_words_of_its_first_pair(model, pairs):
    found = localisation.position_map(model, pairs, Words())
    assert sorted(found["position"].unique()) == [1, 2, 3, 4, 5]
    assert found["sequences"].eq(3).all()
    assert found.loc[found["position"] == 2, "word"].eq(f"w{int(pairs.clean[0, 2])}").all()
    assert patching_map(found, [f"w{i}" for i in range(TIME)]).to_dict()


@pytest.fixture
def tables(arbitrary):
    """Of each kind: answers, the profile of a subject whose weights are arbitrary with shares set, and heads."""
    right = {"bracket": 0.9, "quote": 0.8, "name": 0.5, "keyword": 0.75}
    profiles, heads, answers = [], [], []
    for kind, share in right.items():
        for subject in ("untrained", "trained"):
            about = {"kind": kind, "draw": 0, "subject": subject}
            of = {"right": share, "deviations": 4.0} if subject == "trained" else {"right": 0.5, "deviations": -0.5}
            answers.append(about | of)
            profiles.append(arbitrary[0].assign(**about))
            heads.append(arbitrary[1].assign(**about))
    table, by = pd.concat(profiles, ignore_index=True), pd.concat(heads, ignore_index=True)
    table.loc[table["variant"] == "random direction", "effect"] = 0.1
    middle = table["stage"].isin(["0.resid_mid", "0.resid_post"]) & (table["variant"] == "patch")
    for subject, place, share in (
        ("trained", DIFFER, 0.6),
        ("trained", LAST, 0.35),
        ("untrained", DIFFER, 0.3),
        ("untrained", LAST, 0.2),
    ):
        table.loc[middle & (table["subject"] == subject) & (table["place"] == place), "effect"] = share
    by["effect"] = 0.05
    by.loc[(by["variant"] == "patch") & (by["subject"] == "trained") & (by["layer"] + by["head"] == 2), "effect"] = 0.7
    by.loc[(by["variant"] == "patch") & (by["subject"] == "untrained") & (by["layer"] == 1), "effect"] = 0.3
    return pd.DataFrame(answers), table, by


def judged(tables):
    rows = localisation._rows(*tables, localisation._known_kinds(tables[0]))
    return {row.result: row.passed for row in rows if row.bar}, [row for row in rows if not row.bar]


def test_only_kinds_that_are_known_are_judged_and_what_holds_of_any_weights_has_no_bar(tables):
    answers, table, _ = tables
    table.loc[table["kind"] == "name", "effect"] = np.inf  # what is not known says nothing
    bars, checks = judged(tables)
    assert list(bars.values()) == [True] * 8
    assert not any("name:" in result for result in bars)
    assert len(checks) == 4
    assert all(row.result.startswith("check: ") and row.passed is None for row in checks)
    answers.loc[(answers["kind"] == "keyword") & (answers["subject"] == "trained"), "right"] = 0.7
    bars, _ = judged(tables)
    assert list(bars.values()) == [False, *[True] * 5]
    answers["right"] = 0.5
    bars, checks = judged(tables)
    assert list(bars.values()) == [False, False]
    assert not checks


@pytest.mark.parametrize(
    ("spoil", "fails"),
    [
        (lambda answers, table, by: _set(answers, {"subject": "untrained"}, -2.0, "deviations"), "deviations of"),
        (lambda answers, table, by: _set(table, {"place": LAST, "stage": "0.resid_mid"}, 0.2), "straight from"),
        (lambda answers, table, by: _untrained_alike(table), "straight"),
        (
            lambda answers, table, by: _set(table, {"variant": "random direction", "stage": "0.resid_post"}, -0.3),
            "straight",
        ),
        (lambda answers, table, by: _set(by, {"subject": "trained", "layer": 0, "head": 1}, 0.4), "brings to"),
        (lambda answers, table, by: _set(by, {"subject": "untrained", "layer": 0, "head": 1}, 0.4), "brings to"),
        (lambda answers, table, by: _set(by, {"variant": "random direction", "head": 1}, -0.4), "brings to"),
    ],
)
def test_each_bar_is_missed_where_its_control_does_as_much(tables, spoil, fails):
    spoil(*tables)
    bars, _ = judged(tables)
    assert bars
    for result, passed in bars.items():
        assert passed == (fails not in result), result


def _untrained_alike(table):
    table.loc[table["subject"] == "untrained", "effect"] = table.loc[table["subject"] == "trained", "effect"].to_numpy()


def _set(table, where, value, column="effect"):
    here = pd.Series(True, index=table.index)
    for name, wanted in where.items():
        here &= table[name] == wanted
    assert here.any()
    table.loc[here, column] = value


def test_a_subject_with_arbitrary_weights_passes_every_check_and_no_bar_but_by_chance(arbitrary, tables):
    answers, _, _ = tables
    one, heads = arbitrary
    table = pd.concat([one.assign(kind="quote", draw=0, subject=name) for name in ("trained", "untrained")])
    by = pd.concat([heads.assign(kind="quote", draw=0, subject=name) for name in ("trained", "untrained")])
    answers["deviations"] = 0.5
    rows = localisation._rows(answers, table.reset_index(drop=True), by.reset_index(drop=True), ["quote"])
    checks = [row.ours for row in rows if not row.bar]
    assert float(checks[0]) < 1e-5
    assert checks[1].startswith("1.000")
    assert checks[2].startswith("1.000")
    assert float(checks[3].split()[0]) < 1e-5
    bars = {row.result: row.passed for row in rows if row.bar}
    assert not bars["logit difference between the two prompts, in deviations of that of two tokens at random"]
    assert not next(passed for result, passed in bars.items() if "brings to" in result)


def test_the_profile_is_drawn(arbitrary):
    table = arbitrary[0]
    assert patching_profile(table[table["place"] != BEFORE]).to_dict()
