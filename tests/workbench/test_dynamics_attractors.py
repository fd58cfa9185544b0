"""Lines and rings of slow points, portraits, pushed trajectories, gates, and units that tell something."""

import numpy as np
import pytest
import torch

from models import Dataset, Recurrent, RecurrentConfig, Seq2Seq, Seq2SeqConfig
from models.tasks import DateNormalisation, Dyck, FlipFlop
from workbench.activations import harvest
from workbench.dynamics import (
    Curve,
    Labelled,
    PrincipalAxes,
    ablate_units,
    find_fixed_points,
    gate_statistics,
    line_attractor,
    perturb,
    portrait,
    read_gates,
    read_labels,
    ring_attractor,
    run_states,
    state_map,
    told_apart,
    unit_scores,
)
from workbench.dynamics.moved import moved_labels


def cloud(n, d, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def on_a_line(states):
    """Every point of an arc y = x²/4 stays; what is beside it comes down to it."""
    x, y, z = states.unbind(1)
    return torch.stack([x, x**2 / 4 + 0.4 * (y - x**2 / 4), 0.3 * z], 1)


def on_a_ring(states):
    x, y, z = states.unbind(1)
    r = (x**2 + y**2).sqrt()
    to = 1 + 0.5 * (r - 1)
    return torch.stack([x / r * to, y / r * to, 0.3 * z], 1)


def labelled(states, label, n_groups=10):
    return Labelled(states.numpy(), label.numpy(), np.arange(len(states)) * n_groups // len(states))


def test_a_bent_line_is_a_line_and_tells_the_place_on_it():
    starts = cloud(300, 3)
    points = find_fixed_points(on_a_line, starts)
    states = on_a_line(on_a_line(on_a_line(cloud(500, 3, seed=1))))
    found = line_attractor(points, labelled(states, states[:, 0])).set_index("variant")
    own = found.loc["points"]
    assert own["first"] == pytest.approx(1, abs=1e-6)
    assert own["second"] < 0.5
    assert own["curve"] > 0.98
    assert own["r"] > 0.99
    assert found.loc["shuffled", "r"] < 0.2
    ring = ring_attractor(points).iloc[0]
    assert ring["gap"] > 3  # its ends are far apart


def test_a_ring_closes_winds_once_and_tells_the_angle():
    points = find_fixed_points(on_a_ring, cloud(400, 3))
    states = on_a_ring(on_a_ring(cloud(500, 3, seed=1)))
    heading = torch.atan2(states[:, 1], states[:, 0]) + 0.7
    found = ring_attractor(points, labelled(states, heading)).set_index("variant")
    own = found.loc["points"]
    assert own["first"] == pytest.approx(1, abs=1e-6)
    assert own["second"] == pytest.approx(0.5, abs=0.01)
    assert own["winding"] == pytest.approx(1)
    assert own["gap"] < 2
    assert own["evenness"] > 0.8
    assert own["radius_variation"] < 0.1
    assert own["r"] > 0.99
    assert found.loc["shuffled", "r"] < 0.3
    backwards = ring_attractor(points, labelled(states, -heading)).iloc[0]
    assert backwards["r"] > 0.99


def test_a_filled_plane_is_no_curve_and_one_point_is_nothing():
    grid = torch.cartesian_prod(torch.arange(8), torch.arange(8)).double().numpy()
    assert Curve.through(grid).share < 0.7
    assert Curve.through(np.linspace(0, 1, 9)[:, None] * np.ones(3)).share == pytest.approx(1)
    one = find_fixed_points(lambda x: 0.5 * x, cloud(20, 3))
    many = find_fixed_points(on_a_line, cloud(60, 3))
    found = line_attractor(many, untrained=one).set_index("variant")
    assert np.isnan(found.loc["untrained", "curve"])
    assert found.loc["untrained", "first"] == 0.5


def test_moved_labels_keep_their_order_and_come_from_other_documents():
    groups = np.repeat([7, 3, 5], [4, 6, 5])
    label = np.arange(15)
    moved = moved_labels(label, groups, np.random.default_rng(0))
    for group in (7, 3, 5):
        assert not set(label[groups == group]) & set(moved[groups == group])
        steps = np.diff(moved[groups == group])
        assert (steps == 1).sum() >= len(steps) - 1


@pytest.mark.parametrize("n", [2, 3, 6, 41])
def test_labels_of_a_single_document_move_far_enough_to_be_others(n):
    by = {int(moved_labels(np.arange(n), np.zeros(n), np.random.default_rng(seed))[0]) for seed in range(200)}
    assert min(by) >= n / 4
    assert max(by) <= n - n / 4
    assert len(by) > n / 4
    moved = moved_labels(np.arange(n), np.zeros(n), np.random.default_rng(0))
    assert sorted(moved) == list(range(n))
    with pytest.raises(ValueError, match="one row alone"):
        moved_labels(np.arange(1), np.zeros(1), np.random.default_rng(0))


def test_axes_are_those_of_the_singular_values():
    states = cloud(200, 4) * torch.tensor([3.0, 1.0, 0.1, 0.1]) + 5
    axes = PrincipalAxes.of(states)
    covariance = np.cov(states.T.numpy(), bias=True)
    values = np.linalg.eigvalsh(covariance)[::-1]
    assert np.allclose(axes.explained, values / values.sum())
    place = axes.project(states)
    assert torch.allclose(place.var(0, unbiased=False), torch.from_numpy(values.copy()), atol=1e-9)
    assert torch.allclose(place @ axes.axes + axes.centre, states)


def test_a_portrait_has_a_line_a_state_that_counts():
    data = FlipFlop(n_steps=6).dataset(4, 2, seed=0)
    model = Recurrent(RecurrentConfig(cell="gru", d_model=5, d_in=3, d_out=3))
    paths = run_states(model, data)
    axes = PrincipalAxes.of(paths.at_real(), 2)
    labels = {"memory": data.labels["memory"].to_numpy()}
    found = portrait(paths, axes, labels, sequences=[1, 4])
    assert set(found["sequence"]) == {1, 4}
    assert len(found) == 12
    expected = axes.project(paths.states[4, 3])
    row = found[(found["sequence"] == 4) & (found["step"] == 3)].iloc[0]
    assert np.allclose(row[["pc1", "pc2"]].astype(float), expected)
    assert row["memory"] == labels["memory"][4 * 6 + 3]
    with pytest.raises(ValueError, match="memory has 3 values"):
        portrait(paths, axes, {"memory": np.arange(3)})
    with pytest.raises(ValueError, match="a label is called 'step'"):
        portrait(paths, axes, {"step": np.arange(36)})


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_push_grows_and_decays_as_its_mode_says(cell, as_in_a_script):
    model = Recurrent(RecurrentConfig(cell=cell, d_model=4, d_in=2, d_out=1, seed=3)).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.2)
    data = Dataset(tokens=torch.zeros(3, 60, 2).double(), bos=None)
    step = state_map(model)
    rest = run_states(model, data).states[0, -1]
    values, vectors = torch.linalg.eig(step.jacobians(rest[None])[0])
    real = values.imag == 0
    mode = int(torch.where(real, values.abs(), -1).argmax())
    found = perturb(model, data, {"mode": vectors[:, mode].real}, at=40, amount=1e-5, n_random=2)
    own = found[found["direction"] == "mode"]
    assert own["distance"].iloc[0] == pytest.approx(1e-5, rel=1e-6)
    assert np.allclose(own["growth"].iloc[1:6], np.log(values[mode].abs().item()), atol=1e-3)
    assert set(found["variant"]) == {"direction", "random"}
    assert found.groupby("direction").size().eq(20).all()
    with pytest.raises(ValueError, match="direction 'none' is"):
        perturb(model, data, {"none": torch.zeros(step.d)}, at=40)
    listed = perturb(model, data, {"mode": vectors[:, mode].real.tolist()}, at=np.int64(40), amount=1e-5, n_random=0)
    assert np.allclose(listed["distance"], own["distance"])
    for directions, settings, sentence in (
        ({}, {"n_random": 0}, "there is no direction"),
        ({"mode": torch.ones(step.d)}, {"amount": 0.0}, "amount is 0.0"),
        ({"mode": torch.ones(step.d)}, {"amount": float("nan")}, "amount is nan"),
        ({"random 0": torch.ones(step.d)}, {}, "called 'random 0', as a random one is"),
        ({"mode": vectors[:, mode]}, {}, "'mode' is complex"),
    ):
        with pytest.raises(ValueError, match=sentence):
            perturb(model, data, directions, **{"at": 40} | settings)
    with pytest.raises(ValueError, match="no position 99"):
        perturb(model, data, {"mode": torch.ones(step.d)}, at=99)


@pytest.fixture(scope="module")
def brackets():
    task = Dyck(max_length=20)
    return task.dataset(60, 40, seed=0), Recurrent(RecurrentConfig(cell="lstm", d_model=6, seed=0, **task.shape))


def test_gates_of_a_subject_a_recording_and_a_text_agree(brackets, tmp_path):
    data, model = brackets
    gates = read_gates(model, data)
    assert sorted(gates) == [f"blocks.0.rnn.hook_{gate}" for gate in "fio"]
    store = harvest(model, data, list(gates), tmp_path / "activations/gates")
    recorded = read_gates(store, np.arange(len(store)))
    for name, values in gates.items():
        assert np.allclose(recorded[name], values, atol=1e-6)
    labels = read_labels(store, np.arange(len(store)), ["depth"])
    found = gate_statistics(gates, labels, untrained=gates, low=0.45, high=0.55)
    whole = found[(found["label"] == "all") & (found["variant"] == "trained") & (found["hook"].str.endswith("_f"))]
    forget = gates["blocks.0.rnn.hook_f"]
    assert np.allclose(whole["left"], (forget < 0.45).mean(0))
    assert np.allclose(whole["mean"], forget.mean(0))
    deep = found[(found["label"] == "depth") & (found["value"] == "2") & (found["hook"].str.endswith("_f"))].iloc[0]
    assert deep["n"] == (labels["depth"] == 2).sum()
    assert deep["mean"] == pytest.approx(forget[labels["depth"] == 2, 0].mean())
    with pytest.raises(ValueError, match="must rise"):
        gate_statistics(gates, low=0.9, high=0.1)
    with pytest.raises(ValueError, match="there are no gates"):
        read_gates(Recurrent(RecurrentConfig(cell="rnn", d_model=2, d_vocab=4)), data)


def test_gates_of_an_encoder_are_those_of_the_source(as_in_a_script):
    task = DateNormalisation()
    data = task.dataset(6, 2, seed=0)
    model = Seq2Seq(Seq2SeqConfig(cell="gru", d_model=4, **task.shape))
    gates = read_gates(model, data)
    _, cache = model.run_with_cache(data.tokens, source=data.source, source_mask=data.source_mask, mask=data.mask)
    of_source, n_rows = data.of_source().counted, set()
    for name, values in gates.items():
        counted = of_source if name.startswith("encoder") else data.counted
        assert np.allclose(values, cache[name][counted].detach(), atol=1e-6)
        n_rows.add(len(values))
    assert n_rows == {int(of_source.sum()), int(data.counted.sum())}
    with pytest.raises(ValueError, match="give the sequences"):
        read_gates(model, np.arange(3))
    with pytest.raises(ValueError, match="there are no gates"):
        gate_statistics({})


def test_a_unit_that_is_the_label_is_found_and_shuffled_ones_are_not():
    rng = np.random.default_rng(0)
    n, groups = 2000, np.repeat(np.arange(20), 100)
    inside = np.repeat(rng.random(200) < 0.5, 10)
    depth = np.repeat(rng.integers(0, 5, 200), 10).astype(float)
    values = rng.standard_normal((n, 6))
    values[:, 2] -= 4 * inside
    values[:, 4] = np.exp(depth) + 0.01 * values[:, 4]
    depth_missing = np.where(rng.random(n) < 0.1, np.nan, depth)
    found = unit_scores(values, {"inside": inside, "depth": depth_missing}, groups, groups < 10)
    chosen = found[found["chosen"]].set_index("label")
    assert chosen["unit"].to_dict() == {"inside": 2, "depth": 4}
    assert chosen.loc["inside", "held_out"] < 0.02  # it falls
    assert chosen.loc["inside", "f1"] > 0.9
    assert chosen.loc["depth", "held_out"] > 0.95
    assert abs(chosen.loc["depth", "shuffled_most"]) < 0.4
    assert chosen.loc["inside", "shuffled_most"] < 0.8
    assert chosen["p_value"].max() == pytest.approx(1 / 21)
    others = found[~found["chosen"] & (found["label"] == "inside")]
    assert (others["held_out"] - 0.5).abs().max() < 0.1


def test_labels_that_cannot_be_judged_are_one_sentence(as_in_a_script):
    n, groups = 200, np.repeat(np.arange(20), 10)
    values, inside = np.random.default_rng(0).standard_normal((n, 3)), np.arange(n) % 2 == 0
    with pytest.raises(ValueError, match="on both sides"):
        unit_scores(values, {"inside": inside}, groups, np.arange(n) % 2 == 0)
    with pytest.raises(ValueError, match="no label can be judged"):
        unit_scores(values, {"never": np.zeros(n, bool)}, groups, groups < 10)
    with pytest.raises(ValueError, match="inside has 3 values"):
        unit_scores(values, {"inside": inside[:3]}, groups, groups < 10)


def test_classes_give_a_label_a_value():
    labels = {"kind": np.array(["a", "b", "a"]), "n": np.array([1.0, np.nan, 3.0]), "leader": np.array([0.0, 1, 2])}
    found = told_apart(labels)
    assert list(found) == ["kind=a", "kind=b", "n", "leader", "leader=0", "leader=1", "leader=2"]
    assert found["kind=a"].tolist() == [True, False, True]
    assert found["leader=1"].tolist() == [False, True, False]


def test_a_clamped_unit_costs_where_it_is_needed(brackets, as_in_a_script):
    """Where one unit alone is read out only its clamp is felt, as if it had been set by hand."""
    data, model = brackets
    with torch.no_grad():
        model.unembed.W_U.zero_()[3] = torch.tensor([5.0, -5.0])
    test = data.split("test")
    depth = read_labels(test.labels, np.flatnonzero(test.counted[test.mask].numpy()))["depth"]
    means = run_states(model, test).at_real()[:, :6].numpy().mean(0)
    hook = "blocks.0.hook_out"
    found = ablate_units(model, test, hook, [3], {"open": depth > 0}, means, n_random=3)
    assert found["variant"].tolist() == ["unit", *["random unit"] * 3]
    assert (found["rise_on"].iloc[1:].abs() < 1e-9).all()
    assert abs(found["rise_on"].iloc[0]) > 1e-4
    batch = test.batch(slice(None))
    hidden = run_states(model, test).states[..., :6].float()
    hidden[..., 3] = float(means[3])
    asked = test.counted & (batch["targets"] >= 0)
    expected = torch.nn.functional.cross_entropy(
        model.unembed(hidden)[asked], batch["targets"][asked], reduction="none"
    )
    before = model(**batch, return_type="loss", loss_per_token=True)[asked]
    on = torch.from_numpy(depth > 0)[asked[test.counted]]
    assert found["rise_on"].iloc[0] == pytest.approx((expected - before)[on].mean().item(), abs=1e-5)
    assert found["loss_on"].iloc[0] == pytest.approx(before[on].mean().item(), abs=1e-5)
    with pytest.raises(ValueError, match="no unit 9"):
        ablate_units(model, test, hook, [9], {}, means)
    with pytest.raises(ValueError, match="depth is float64: a label must be Booleans"):
        ablate_units(model, test, hook, [0], {"depth": depth}, means)
    with pytest.raises(ValueError, match="open has 2 values"):
        ablate_units(model, test, hook, [0], {"open": np.ones(2, bool)}, means)


def test_moves_after_which_nothing_can_be_judged_are_left_out():
    groups = np.repeat(np.arange(6), 40)
    label = np.isin(groups, [0, 5]) & (np.arange(240) % 40 < 25)
    values = np.random.default_rng(0).random((240, 3)) + label[:, None]
    found = unit_scores(values, {"rare": label}, groups, groups < 3, n_shuffles=12)
    chosen = found[found["chosen"]].iloc[0]
    assert 0.5 <= chosen["shuffled"] <= chosen["shuffled_most"] <= 1
    assert 1 / 13 < chosen["p_value"] <= 1
