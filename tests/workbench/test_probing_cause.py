"""Whether behaviour follows a probe: where the answer is built in, against numpy, and with every control beside it."""

import numpy as np
import pandas as pd
import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig, Transformer, TransformerConfig
from probes.erasure import LEACE
from workbench.interventions import Subspace, add, edit_at, erase, project_out, set_to, swap
from workbench.probing import cause_report
from workbench.probing.cause import COLUMNS

D, STATE, OUT = 6, "blocks.0.rnn.hook_h", "blocks.0.hook_out"


@pytest.fixture
def model():
    """Its first logit is its first unit and nothing else."""
    made = Recurrent(RecurrentConfig(cell="gru", d_model=D, d_vocab=12, dtype=torch.float64)).requires_grad_(False)
    made.unembed.W_U.zero_()
    made.unembed.b_U.zero_()
    made.unembed.W_U[0, 0] = 1.0
    return made


@pytest.fixture
def dataset():
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(8) < torch.tensor([8, 8, 8, 8, 5, 5])[:, None]
    tokens = torch.randint(1, 12, (6, 8), generator=generator) * mask
    tokens[:, 0] = 0
    return Dataset(tokens=tokens, mask=mask, docs=torch.tensor([0, 0, 1, 2, 3, 3]))


FIRST, SECOND = (Subspace.along(torch.eye(D)[i]) for i in (0, 1))


def last_logit(output):
    return output[:, -1, 0]


def mean_logit(output, batch):
    edited = batch["edited"]
    return (output[..., 0] * edited).sum(1) / edited.sum(1)


def line(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    (found,) = table.to_dict("records")
    return found


def test_a_direction_that_the_answer_is_made_of_moves_it_as_predicted(model, dataset):
    edits = {f"add {s}": add(FIRST, s) for s in (-2.0, 0.0, 1.0)}
    found = cause_report(
        model, dataset, OUT, edits, mean_logit, readers={OUT: FIRST}, raises=True, n_controls=4, seed=3
    )
    assert list(found.columns) == list(COLUMNS)
    for strength in (-2.0, 0.0, 1.0):
        metric = line(found, edit=f"add {strength}", variant="edit", measure="metric")
        assert (metric["strength"], metric["kind"], metric["hook"]) == (strength, "add", OUT)
        assert metric["effect"] == pytest.approx(strength)
        assert metric["value"] == pytest.approx(metric["unedited"] + strength)
        read = line(found, edit=f"add {strength}", variant="edit", measure="read-out")
        assert read["effect"] == pytest.approx(strength)
        controls = found[(found["edit"] == f"add {strength}") & (found["variant"] == "random direction")]
        assert controls.loc[controls["measure"] == "metric", "seed"].tolist() == [3, 4, 5, 6]
        assert controls["predicted"].isna().all()
        if strength:
            assert metric["predicted"] == np.sign(strength)
            assert metric["as_predicted"] is True
            assert metric["beyond_controls"] == 1
            assert (controls["effect"].abs() < abs(strength)).all()
    nothing = found[found["edit"] == "add 0.0"]
    assert (nothing["effect"] == 0).all()
    assert nothing["predicted"].isna().all()


def test_one_that_it_is_not_made_of_does_not_though_the_probe_reads_the_edit(model, dataset):
    found = cause_report(model, dataset, OUT, {"up": add(SECOND, 2.0)}, mean_logit, readers={OUT: SECOND}, raises=True)
    metric, read = (line(found, variant="edit", measure=measure) for measure in ("metric", "read-out"))
    assert read["effect"] == pytest.approx(2)
    assert metric["effect"] == 0
    assert (metric["predicted"], metric["as_predicted"]) == (1, False)
    against = cause_report(model, dataset, OUT, {"up": add(FIRST, 2.0)}, mean_logit, readers={OUT: FIRST}, raises=False)
    metric = line(against, variant="edit", measure="metric")
    assert (metric["predicted"], metric["as_predicted"], metric["beyond_controls"]) == (-1, False, 0)


def test_every_line_is_what_the_edit_alone_gives(model, dataset):
    """Metric and read-outs, at a step of the recurrence, against runs by hand; whatever shares a pass."""
    edits = {"set": set_to(SECOND, 0.5), "swap": swap(SECOND)}
    wanted = {"readers": {STATE: SECOND, OUT: FIRST}, "positions": [2, 6], "n_controls": 0}
    found = cause_report(model, dataset, STATE, edits, last_logit, **wanted)
    again = cause_report(model, dataset, STATE, edits, last_logit, batch_size=3, **wanted)
    pd.testing.assert_frame_equal(found, again, rtol=1e-12, atol=1e-14)
    batch = {"mask": dataset.mask}
    for t, rows in ((2, slice(None)), (6, slice(0, 4))):  # two sequences have no position 6
        for name, edit in edits.items():
            with model.hooks(fwd_hooks=edit_at(model, dataset, STATE, edit, at=t)):
                output, cache = model.run_with_cache(dataset.tokens, **batch, names_filter=[STATE, OUT])
            about = {"edit": name, "position": t, "variant": "edit"}
            metric = line(found, measure="metric", **about)
            assert metric["value"] == pytest.approx(last_logit(output)[rows].mean().item())
            assert metric["unedited"] == pytest.approx(last_logit(model(dataset.tokens, **batch))[rows].mean().item())
            assert metric["sequences"] == len(dataset.tokens[rows])
            for hook, unit in ((STATE, 1), (OUT, 0)):
                read = line(found, measure="read-out", read_hook=hook, **about)
                assert read["value"] == pytest.approx(cache[hook][rows, t, unit].mean().item())
                later = [
                    cache[hook][i, t + 1 : n, unit].mean().item()
                    for i, n in enumerate(dataset.mask.sum(1).tolist()[rows])
                ]
                read = line(found, measure="read-out later", read_hook=hook, **about)
                assert read["value"] == pytest.approx(np.mean(later))


def test_intervals_are_over_documents(model, dataset):
    """Sequences of one document are drawn together, as they are by hand."""
    where = torch.zeros(6, 8, dtype=torch.bool)
    where[:, 3] = True
    found = cause_report(model, dataset, OUT, {"up": swap(FIRST)}, mean_logit, at=where, n_controls=1)
    metric = line(found, variant="edit", measure="metric")
    assert (metric["sequences"], metric["documents"], metric["note"]) == (6, 4, "")
    logit = model(dataset.tokens, mask=dataset.mask)[:, 3, 0].numpy()
    of_doc = [[0, 1], [2], [3], [4, 5]]
    rng = np.random.default_rng(1)
    drawn = [np.mean(-logit[np.concatenate([of_doc[d] for d in rng.integers(4, size=4)])]) for _ in range(4000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert metric["low"] == pytest.approx(low, abs=0.15 * (high - low))
    assert metric["high"] == pytest.approx(high, abs=0.15 * (high - low))
    one = cause_report(model, dataset.select(torch.tensor([0, 1])), OUT, {"up": swap(FIRST)}, mean_logit, n_controls=1)
    assert one[["low", "high", "effect_low"]].isna().all(axis=None)
    assert (one["note"] == "one document: no interval over documents").all()


def test_taking_directions_out_is_held_against_random_subspaces_too(model, dataset):
    _, cache = model.run_with_cache(dataset.tokens, names_filter=OUT)
    rows, labels = cache[OUT][dataset.counted], (dataset.tokens > 5)[dataset.counted]
    eraser = LEACE().fit(rows, labels).eraser_
    edits = {"LEACE": erase(eraser), "out": project_out(FIRST), "up": add(FIRST, 1.0)}
    found = cause_report(model, dataset, OUT, edits, mean_logit, n_controls=2)
    variants = {name: of["variant"].tolist() for name, of in found.groupby("edit")}
    assert variants["up"] == ["edit"] + ["random direction"] * 2
    assert variants["LEACE"] == variants["out"] == variants["up"] + ["random subspace"] * 2
    assert found.loc[found["edit"] == "out", "value"].iloc[0] == pytest.approx(0)


def test_only_real_positions_are_edited_and_those_chosen(model, dataset):
    seen = []

    def metric(output, batch):
        seen.append(batch["edited"])
        return output[:, 0, 0]

    cause_report(model, dataset, OUT, {"up": add(FIRST, 1.0)}, metric, n_controls=0)
    assert torch.equal(seen[-1], torch.cat([dataset.counted] * 2))
    at = torch.arange(8) < 3
    found = cause_report(model, dataset, OUT, {"up": add(FIRST, 1.0)}, metric, n_controls=0, at=at, positions=[1, 2])
    assert found["position"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="nothing to edit at position 3"):
        cause_report(model, dataset, OUT, {"up": add(FIRST, 1.0)}, metric, at=at, positions=[1, 3])


def test_tokens_alone_a_transformer_and_another_layer_s_probe():
    subject = Transformer(TransformerConfig(n_layers=2, d_model=D, n_heads=2, d_mlp=8, n_ctx=6, d_vocab=12))
    tokens = torch.randint(1, 12, (4, 6), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 0
    first, second = (f"blocks.{layer}.hook_resid_post" for layer in (0, 1))
    found = cause_report(
        subject,
        tokens,
        first,
        {"up": add(FIRST, 3.0)},
        last_logit,
        readers={first: FIRST, second: FIRST},
        positions=[2],
    )
    assert line(found, measure="read-out", read_hook=first, variant="edit")["effect"] == pytest.approx(3, abs=1e-5)
    assert line(found, measure="read-out later", read_hook=first, variant="edit")["effect"] == 0
    assert abs(line(found, measure="read-out", read_hook=second, variant="edit")["effect"] - 3) < 2.5
    assert line(found, measure="read-out later", read_hook=second, variant="edit")["effect"] != 0


def test_bad_input_is_refused_and_nothing_is_left_behind(model, dataset):
    up = {"up": add(FIRST, 1.0)}
    wide = Subspace.along(torch.ones(D + 1))
    model.train()
    with pytest.raises(ValueError, match="no edits were given"):
        cause_report(model, dataset, OUT, {}, last_logit)
    with pytest.raises(ValueError, match=r"no hook named 'blocks.0.hook_ou': did you mean blocks.0.hook_out"):
        cause_report(model, dataset, "blocks.0.hook_ou", up, last_logit)
    with pytest.raises(ValueError, match="no hook named 'elsewhere'"):
        cause_report(model, dataset, OUT, up, last_logit, readers={"elsewhere": FIRST})
    with pytest.raises(ValueError, match="no position 8"):
        cause_report(model, dataset, OUT, up, last_logit, positions=[1, 8])
    with pytest.raises(ValueError, match="nothing but BOS and padding"):
        cause_report(model, dataset, OUT, up, last_logit, positions=[0])
    with pytest.raises(ValueError, match="give its probe among readers"):
        cause_report(model, dataset, OUT, up, last_logit, raises=True)
    with pytest.raises(ValueError, match="has 2 directions: one is asked"):
        cause_report(model, dataset, OUT, up, last_logit, readers={OUT: Subspace.along(torch.eye(D)[:2])})
    with pytest.raises(ValueError, match="of 7 numbers, but a position here has 6"):
        cause_report(model, dataset, OUT, {"up": add(wide, 1.0)}, last_logit)
    with pytest.raises(ValueError, match="of 7 numbers, but a position here has 6"):
        cause_report(model, dataset, OUT, up, last_logit, readers={OUT: wide})
    with pytest.raises(ValueError, match=r"the metric gave shape \(1, 8\) for a batch of 1"):
        cause_report(model, dataset, OUT, up, lambda output: output[..., 0], n_controls=4)
    with pytest.raises(ValueError, match="the metric gave float"):
        cause_report(model, dataset, OUT, up, lambda output: output.mean().item())
    with pytest.raises(ValueError, match="the metric is NaN or infinite"):
        cause_report(model, dataset, OUT, up, lambda output: output[:, 0, 0] / 0)
    with pytest.raises(ValueError, match="there is nothing to edit"):
        cause_report(model, dataset.tokens[:, :1], OUT, up, last_logit)
    n_passes = []
    with (
        model.hooks(fwd_hooks=[("hook_embed", lambda value, hook: n_passes.append(1))]),
        pytest.raises(ValueError, match="of 7 numbers"),
    ):
        cause_report(model, dataset, OUT, up | {"wide": add(wide, 1.0)}, last_logit, batch_size=1)
    assert len(n_passes) <= 2  # not after all that came before it
    assert model.training
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
