"""Activation patching in any precision, what it refuses, and the subject as it was afterwards."""

import pytest
import torch
from patched_by_hand import CLEAN, CORRUPT, LAST, D, T, tokens, transformer

from workbench.interventions import Subspace
from workbench.interventions.patching import activation_patching


@pytest.fixture(scope="module")
def model():
    return transformer()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_in_any_precision_and_without_gradients(dtype):
    model = transformer(dtype=dtype)
    seen = []

    def metric(output, batch):
        seen.append((output.dtype, output.requires_grad))
        return LAST(output, batch)

    table = activation_patching(model, CLEAN, CORRUPT, metric, ["blocks.0.hook_resid_pre", "blocks.1.mlp.hook_post"])
    assert set(seen) == {(dtype, False)}
    assert table.value.notna().all()
    assert all(p.grad is None for p in model.parameters())
    assert activation_patching(model, CLEAN, CORRUPT, LAST, "blocks.1.hook_resid_pre", by=(), bos=True).effect[
        0
    ] == pytest.approx(1, abs=1e-9 if dtype == torch.float64 else 0.1)


RESID, Z = "blocks.0.hook_resid_pre", "blocks.0.attn.hook_z"
LONGER = tokens(3, pos=T - 1)
REFUSED = {
    "unequal numbers": ({"clean": CLEAN[:2]}, "2 clean sequences and 3 corrupt ones"),
    "unequal lengths": ({"corrupt": LONGER}, r"\[8\] and \[7\] positions"),
    "no gap": ({"corrupt": CLEAN}, "there is no gap to restore"),
    "an unknown hook": ({"hooks": "blocks.0.hook_resid_pro"}, "did you mean blocks.0.hook_resid_pre"),
    "a predicate that matches none": ({"hooks": lambda name: False}, "matches none"),
    "no hooks": ({"hooks": []}, "matches none"),
    "an unknown part": ({"by": ("layer",)}, "by has 'layer'"),
    "heads of a hook without": ({"by": ("head",)}, "has no heads"),
    "some heads of a hook without": ({"heads": [0]}, "has no heads"),
    "a head that is not there": ({"hooks": Z, "heads": [2]}, "has no head 2: they are numbered 0 to 1"),
    "a unit that is not there": ({"units": [-1]}, "has no unit -1: they are numbered 0 to 7"),
    "no units": ({"units": []}, "was given no units"),
    "a position that is not there": ({"positions": [T]}, "no position 8"),
    "BOS alone": ({"positions": [0]}, "nothing but BOS"),
    "no positions": ({"positions": []}, "no position was chosen"),
    "directions of another width": ({"within": Subspace.along(torch.eye(3))}, "directions are of 3 numbers"),
    "units within": ({"within": Subspace.along(torch.eye(D)), "by": ("unit",)}, "within takes whole rows"),
    "no sequences a pass": ({"batch_size": 0}, "batch_size is 0"),
    "fewer controls than none": ({"n_controls": -1}, "n_controls is -1"),
    "a metric of another shape": ({"metric": lambda output: output.sum()}, "it must give a tensor"),
}


@pytest.mark.parametrize(("wrong", "said"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_sentence(model, wrong, said, as_in_a_script):
    given = {"clean": CLEAN, "corrupt": CORRUPT, "metric": LAST, "hooks": RESID} | wrong
    with pytest.raises(ValueError, match=said):
        activation_patching(model, **given)


@pytest.mark.parametrize("training", [False, True])
def test_whatever_is_raised_inside_the_subject_is_left_as_it_was(training):
    model, calls = transformer().train(training), []

    def own(value, hook):
        pass

    model.add_hook("blocks.1.hook_mlp_out", own)
    weights = {name: value.clone() for name, value in model.state_dict().items()}

    def metric(output, batch):
        calls.append(model.training)
        value = LAST(output, batch)
        return value if len(calls) < 4 else value * torch.nan

    with pytest.raises(ValueError, match="NaN"):
        activation_patching(model, CLEAN, CORRUPT, metric, [RESID, Z], batch_size=3)
    assert calls == [False] * 4
    assert model.training == training
    attached = {name: len(point.fwd_hooks) for name, point in model.hook_dict.items() if point.fwd_hooks}
    assert attached == {"blocks.1.hook_mlp_out": 1}
    model.reset_hooks()
    calls.clear()
    with pytest.raises(ValueError, match="NaN"):
        activation_patching(model, CLEAN, CORRUPT, metric, [RESID, Z], batch_size=3)
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_nan_in_a_run_is_named_where_it_stands(model):
    with model.hooks(fwd_hooks=[(Z, lambda value, hook: value * torch.nan)]), pytest.raises(ValueError, match="NaN"):
        activation_patching(model, CLEAN, CORRUPT, LAST, Z)
