"""Fixed and slow points: of maps whose points are known by hand, and of every cell; what joins them."""

import numpy as np
import pytest
import torch

from models import Recurrent, RecurrentConfig, Transformer, TransformerConfig
from models.artifacts import ArtifactError
from models.spiking import integrator
from models.tasks import FlipFlop
from workbench.dynamics import (
    FixedPoints,
    draw_starts,
    find_fixed_points,
    jacobian_products,
    non_normality,
    run_states,
    spectrum,
    state_map,
    state_path,
    time_constants,
    unstable_manifolds,
)
from workbench.dynamics.spectra import frequencies

CELLS = [
    {"cell": "rnn"},
    {"cell": "rnn", "nonlinearity": "relu"},
    {"cell": "lstm"},
    {"cell": "gru"},
    {"cell": "gru", "gru_convention": "textbook"},
    {"cell": "mingru"},
]


FLIPS = FlipFlop(n_steps=6).dataset(8, 4, seed=0)


def subject(n_layers=2, **cell):
    return Recurrent(RecurrentConfig(d_model=5, n_layers=n_layers, d_in=3, d_out=2, seed=1, **cell))


def double_well(states, dt=0.2):
    """Fixed at (0, 0), a saddle with λ = 1 + dt and ½, and at (±1, 0), stable with λ = 1 − 2 dt and ½."""
    x, y = states.unbind(1)
    return torch.stack([x + dt * (x - x**3), 0.5 * y], 1)


def cloud(n=200, d=2, scale=1.0, seed=0):
    return scale * torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "-".join(cell.values()))
def test_the_map_is_one_step_of_the_subject(cell):
    model = subject(**cell).double()
    x = cloud(1, 3)[0]
    step = state_map(model, x)
    state = cloud(4, step.d).abs()
    parts = {name: state[:, part] for name, part in step.parts.items()}
    given = [tuple(parts[f"blocks.{i}.rnn.hook_{n}"] for n in b.rnn.state_names) for i, b in enumerate(model.blocks)]
    _, after = model.run_steps(x.expand(4, 1, 3), given)
    expected = torch.cat([value for layer in after for value in layer], 1)
    assert torch.allclose(step(state), expected, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "-".join(cell.values()))
def test_jacobians_are_those_of_finite_differences(cell):
    step = state_map(subject(**cell), [0.3, -0.2, 0.5])
    state, eps = cloud(3, step.d), 1e-6
    moved = eps * torch.eye(step.d, dtype=torch.float64)
    columns = [(step(state + by) - step(state - by)) / (2 * eps) for by in moved]
    assert torch.allclose(step.jacobians(state), torch.stack(columns, -1), atol=1e-8)


def test_the_subject_is_left_as_it_was():
    model = subject(cell="gru").train()
    model.blocks[0].rnn.hook_h.add_hook(lambda value, hook: value)
    before = {name: (value.clone(), value.requires_grad) for name, value in model.named_parameters()}
    find_fixed_points(model, cloud(20, 10))
    assert model.training
    assert len(model.blocks[0].rnn.hook_h.fwd_hooks) == 1
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name][0])
        assert value.requires_grad == before[name][1]
        assert value.grad is None
        assert value.dtype == torch.float32


def test_inputs_are_tokens_their_mean_or_numbers():
    model = Recurrent(RecurrentConfig(cell="rnn", d_model=4, d_vocab=6))
    embedded = model.embed.W_E.detach().double()
    assert torch.equal(state_map(model, 2).input, embedded[2])
    assert torch.equal(state_map(model).input, torch.zeros(4, dtype=torch.float64))
    task = FlipFlop(n_steps=8)
    data = task.dataset(6, 2, seed=0)
    mean = state_map(subject(cell="rnn"), "mean", dataset=data).input
    assert torch.allclose(mean, data.tokens.double().mean((0, 1)))


def test_a_linear_map_has_one_point_and_the_matrix_as_its_jacobian():
    matrix = 0.4 * cloud(4, 4)
    b = cloud(1, 4)[0]
    found = find_fixed_points(lambda x: x @ matrix.T + b, cloud(50, 4))
    assert len(found) == 1
    assert torch.allclose(found.states[0], torch.linalg.solve(torch.eye(4).double() - matrix, b), atol=1e-9)
    assert torch.allclose(found.jacobians[0], matrix, atol=1e-10)
    expected = np.sort(np.abs(np.linalg.eigvals(matrix.numpy())))[::-1]
    assert np.allclose(found.eigenvalues[0].abs(), expected)
    assert found.basin.tolist() == [50]


def test_the_points_of_a_double_well_and_what_joins_them(tmp_path):
    found = find_fixed_points(double_well, cloud())
    order = found.states[:, 0].argsort()
    assert torch.allclose(found.states[order], torch.tensor([[-1.0, 0], [0, 0], [1, 0]]).double(), atol=1e-9)
    assert [found.kind[i] for i in order] == ["stable", "saddle", "stable"]
    assert found.n_unstable[order].tolist() == [0, 1, 0]
    assert np.allclose(found.eigenvalues[order].real, [[0.6, 0.5], [1.2, 0.5], [0.6, 0.5]])
    assert found.basin.sum() == 200
    assert torch.equal(torch.bincount(found.led_to), torch.from_numpy(found.basin))
    manifolds = unstable_manifolds(double_well, found)
    left, saddle, right = order.tolist()
    assert manifolds.joined() == {(saddle, left), (saddle, right)}
    path = manifolds.paths[0, : manifolds.length[0], 0]
    assert path[0].abs() < 0.01
    assert (path.diff().sign() == path[-1].sign()).all()  # one way, from the saddle to the well
    assert abs(abs(path[-1]) - 1) < 0.05
    table = found.table()
    assert table["time_constant"].to_numpy()[left] == pytest.approx(-1 / np.log(0.6))
    found.save(tmp_path)
    again = FixedPoints.load(tmp_path)
    assert again.table().equals(table)
    assert torch.equal(again.left, found.left)
    with pytest.raises(ArtifactError, match="holds no fixed points"):
        FixedPoints.load(tmp_path / "elsewhere")
    (tmp_path / "broken").mkdir()
    for damaged in (b"xx", (tmp_path / "arrays.safetensors").read_bytes()[:-50]):
        (tmp_path / "broken/arrays.safetensors").write_bytes(damaged)
        with pytest.raises(ArtifactError, match="is damaged"):
            FixedPoints.load(tmp_path / "broken")
    some = found.select(found.stable)
    assert some.kind == ["stable", "stable"]
    assert some.basin.sum() == found.basin[found.stable].sum()


def test_patterns_of_an_associative_net_are_its_stable_points():
    """x' = tanh(g/n Σ ξ ξᵀ x) of orthogonal patterns is still at ±m ξ with m = tanh(g m)."""
    patterns = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 1], [1, -1, 1, -1, 1, -1, 1, -1]]).double()
    g = 1.8
    weights = g / 8 * patterns.T @ patterns
    m = 1.0
    for _ in range(200):
        m = np.tanh(g * m)
    found = find_fixed_points(lambda x: torch.tanh(x @ weights), 2 * cloud(300, 8))
    stable = found.states[torch.from_numpy(found.stable)]
    for expected in torch.cat([m * patterns, -m * patterns]):
        assert (stable - expected).norm(dim=1).min() < 1e-8
    assert len(stable) == 4
    joined = unstable_manifolds(lambda x: torch.tanh(x @ weights), found).joined()
    assert {end for _, end in joined} >= set(np.flatnonzero(found.stable).tolist())


def test_a_map_that_never_rests_has_no_point():
    found = find_fixed_points(lambda x: x + 1, cloud(30), max_steps=20)
    assert len(found) == 0
    assert found.n_lost == 30
    assert len(found.table()) == 0
    assert not unstable_manifolds(lambda x: x + 1, found).joined()


def test_slow_points_stay_where_they_were_slow():
    """A plane with a slow drift along x has no fixed point, but is slow wherever y is 0."""

    def drift(x):
        return torch.stack([x[:, 0] + 1e-4, 0.5 * x[:, 1]], 1)

    found = find_fixed_points(drift, cloud(100), max_steps=30)
    assert set(found.kind) == {"slow"}
    assert found.n_lost == 0
    assert len(found) > 50
    assert found.states[:, 1].abs().max() < 0.01
    assert found.states[:, 0].std() > 0.5  # spread along the line, as the starts were
    tight = find_fixed_points(drift, cloud(100), slow_tolerance=1e-10, max_steps=30)
    assert len(tight) == 0


def test_points_far_from_the_starts_are_dropped_and_counted():
    def cubic(x):  # still at 0 and at ±40
        return x + 0.1 * x * (1 - (x / 40) ** 2)

    near = find_fixed_points(cubic, torch.linspace(-1, 1, 40)[:, None].double() * 30, far=1.5)
    assert near.n_far > 0
    assert near.states.abs().max() < 1e-6
    assert near.n_far + near.n_lost + near.basin.sum() == 40


def test_left_and_right_vectors_are_each_others_inverse():
    matrices = cloud(6, 25).view(6, 5, 5)
    modes = spectrum(matrices)
    identity = torch.eye(5, dtype=torch.complex128)
    assert torch.allclose(modes.left @ modes.right, identity.expand(6, 5, 5), atol=1e-10)
    rebuilt = modes.right @ torch.diag_embed(modes.eigenvalues) @ modes.left
    assert torch.allclose(rebuilt, matrices.to(rebuilt), atol=1e-10)
    assert (modes.eigenvalues.abs().diff(dim=1) <= 1e-9).all()
    defective = spectrum(torch.tensor([[0.5, 1.0], [0.0, 0.5]]))
    assert defective.left.isnan().all()
    assert torch.allclose(defective.eigenvalues.real, torch.tensor([0.5, 0.5]).double())


def test_what_eigenvalues_say():
    turn = 0.9 * np.exp(2j * np.pi / 8)
    assert np.allclose(
        time_constants(np.array([np.exp(-0.1), 1.0, np.exp(0.5), 0.0, turn])), [10, np.inf, -2, 0, -1 / np.log(0.9)]
    )
    assert np.allclose(frequencies(np.array([turn, turn.conjugate(), -1.0, 0.5])), [1 / 8, 1 / 8, 0.5, 0])
    chain = torch.diag(torch.ones(3), 1)
    normal = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
    assert non_normality(chain) == pytest.approx(1)
    assert non_normality(normal) == pytest.approx(0, abs=1e-7)


def test_the_gradient_through_a_linear_chain_is_a_power():
    w, n = 0.93, 30
    step = state_map(lambda h: w * h)
    path = state_path(step, torch.ones(1, 1), n - 1)[0]
    found = jacobian_products(step, path)
    assert abs(found[0, 0, 0].item() - w ** (n - 1)) < 1e-12
    model = Recurrent(RecurrentConfig(cell="rnn", nonlinearity="relu", d_model=1, d_in=1, d_out=1))
    with torch.no_grad():
        for weight, value in (
            (model.blocks[0].rnn.W_hh, 0.5),
            (model.blocks[0].rnn.b_ih, 1),
            (model.blocks[0].rnn.b_hh, 0),
        ):
            weight.fill_(value)
    step = state_map(model)
    path = state_path(step, torch.ones(1, 1), n - 1)[0]
    assert abs(jacobian_products(step, path)[0].item() - 0.5 ** (n - 1)) < 1e-12


def test_products_are_the_gradient_through_time():
    step = state_map(subject(cell="lstm"), [0.1, 0.2, 0.3])
    start = cloud(1, step.d)[0].requires_grad_()
    whole = torch.autograd.functional.jacobian(lambda h: state_path(step, h[None], 6)[0, -1], start)
    found = jacobian_products(step, state_path(step, start.detach()[None], 6)[0])
    assert torch.allclose(found[0], whole, atol=1e-12)
    assert torch.equal(found[-1], torch.eye(step.d, dtype=torch.float64))


def test_starts_come_from_sequences_and_the_seed_alone():
    data = FlipFlop(n_steps=6).dataset(8, 4, seed=0)
    model = subject(cell="lstm", n_layers=1)
    states = run_states(model, data)
    assert states.states.shape == (12, 6, 10)
    _, cache = model.run_with_cache(data.tokens)
    assert torch.allclose(states.states[..., 5:].float(), cache["blocks.0.rnn.hook_c"])
    first = find_fixed_points(model, data, n_starts=30, seed=1)
    again = find_fixed_points(model, data, n_starts=30, seed=1)
    assert torch.equal(first.states, again.states)
    other = find_fixed_points(model, data, n_starts=30, seed=2)
    assert not torch.equal(first.starts, other.starts)


def test_states_that_are_given_are_the_starts():
    given = cloud(7)
    assert torch.equal(find_fixed_points(double_well, given).starts, given)
    assert torch.equal(find_fixed_points(double_well, given.numpy()).starts, given)
    assert torch.equal(find_fixed_points(double_well, given.requires_grad_()).starts, given.detach())
    drawn = draw_starts(cloud(7), 30, noise=0.0, seed=1)
    assert drawn.shape == (30, 2)
    assert set(map(tuple, drawn.tolist())) <= set(map(tuple, cloud(7).tolist()))


@pytest.mark.parametrize("n", [1, 3])
def test_one_start_leads_to_a_point_however_far_it_is(n):
    found = find_fixed_points(lambda x: 0.5 * x, torch.full((n, 3), 1234.1, dtype=torch.float64))
    assert found.kind == ["stable"]
    assert found.n_far == found.n_lost == 0
    assert found.size == 1


@pytest.mark.parametrize("eps", [0.02, 0.003, 1e-4])
def test_a_saddle_and_the_stable_points_beside_it_are_three(eps):
    """Fixed at x = ±eps with λ = ½ and at 0 with λ = 3/2, nearer than slow points are told apart."""

    def pitchfork(states):
        x, y = states.unbind(1)
        return torch.stack([x - 0.5 * x * (x**2 - eps**2) / (x**2 + eps**2), 0.5 * y], 1)

    found = find_fixed_points(pitchfork, cloud(256))
    by_place = sorted(zip(found.states[:, 0].tolist(), found.kind, strict=True))
    assert [kind for _, kind in by_place] == ["stable", "saddle", "stable"]
    np.testing.assert_allclose([x for x, _ in by_place], [-eps, 0, eps], atol=1e-8)
    assert found.basin.sum() == (found.led_to >= 0).sum() == 256


def test_where_every_state_stays_one_is_left_in_each_stretch():
    found = find_fixed_points(lambda x: x * torch.tensor([1.0, 0.5], dtype=x.dtype), cloud(300), apart=0.1)
    assert set(found.kind) == {"marginal"}
    along = found.states[:, 0].sort().values
    assert (along.diff() > 0.1 * found.size).all()
    assert 10 < len(found) < 60


def test_a_step_may_be_a_network_of_ones_own():
    """Its parameters want gradients; nothing that is found does, and torch's own graph is not built."""
    cell = torch.nn.Linear(2, 2).double()
    found = find_fixed_points(lambda x: torch.tanh(cell(x)), cloud(30))
    assert len(found.table()) == len(found) > 0
    assert not found.states.requires_grad
    assert not unstable_manifolds(lambda x: torch.tanh(cell(x)), found).paths.requires_grad
    assert all(weight.grad is None for weight in cell.parameters())


def test_rectified_units_at_their_kink_are_differentiable():
    found = find_fixed_points(lambda x: 0.5 * torch.relu(x), torch.zeros(4, 3, dtype=torch.float64))
    assert len(found) == 1


def test_what_grows_out_of_what_is_finite_is_followed_as_long_as_it_is():
    def away(x):
        return torch.stack([2 * x[:, 0] + x[:, 0] ** 3, 0.5 * x[:, 1]], 1)

    found = find_fixed_points(away, 0.1 * cloud(20))
    manifolds = unstable_manifolds(away, found)
    assert manifolds.branches["escaped"].all()
    assert torch.isfinite(manifolds.paths).all()
    assert manifolds.paths[:, -1, 0].abs().min() > 1e6
    assert (manifolds.branches["steps"] < 100).all()


def test_spiking_subjects_have_a_reason_of_their_own():
    with pytest.raises(ValueError, match="a spike has no derivative"):
        state_map(integrator(10))


@pytest.mark.parametrize(
    ("function", "starts", "settings", "sentence"),
    [
        (lambda x: x[:, :1], cloud(), {}, r"makes \[200, 1\] of states \[200, 2\]: it must keep the shape"),
        (lambda x: x / 0, cloud(), {}, "makes NaN or infinite values"),
        (lambda x: "x", cloud(), {}, "makes str of states"),
        (lambda x: x, torch.full((3, 2), torch.nan), {}, "must be finite numbers"),
        (lambda x: x, torch.ones(3), {}, r"starts are \[3\]"),
        (lambda x: x, cloud(), {"tolerance": 0.0}, "tolerance is 0.0: it must be above 0"),
        (lambda x: x, cloud(), {"slow_tolerance": 1e-30}, "at least the tolerance"),
        (lambda x: x, cloud(), {"slow_tolerance": np.inf}, "slow_tolerance is inf"),
        (lambda x: x, cloud(), {"noise": 0.1}, "are of sequences"),
        (lambda x: x, cloud(), {"n_starts": 10}, "are of sequences"),
        (lambda x: x, FLIPS, {}, "a step function reads no sequences"),
        (state_map(lambda x: x), FLIPS, {}, "a step function reads no sequences"),
        (subject(cell="rnn"), FLIPS, {"noise": -1.0}, "not negative"),
        (subject(cell="rnn"), FLIPS, {"n_starts": 0}, "n_starts is 0"),
        (lambda x: x, cloud(), {"input": 1.0}, "fails .*2 were given.*float64 tensors, differentiable by torch"),
        (lambda x: torch.tanh(x.detach()), cloud(), {}, "derivatives by torch are not those of its differences"),
        (lambda x: x.detach() + 0.1 * torch.tanh(x), cloud(), {}, "derivatives by torch are not those"),
        (torch.no_grad()(torch.tanh), cloud(), {}, "derivatives by torch are not those"),
        (lambda x: torch.from_numpy(np.tanh(x.numpy())), cloud(), {}, "no derivatives .*differentiable by torch"),
        (torch.nn.Linear(2, 2), cloud(), {}, "the step function fails .*float64 tensors"),
        (lambda x: torch.tanh(x.float()), cloud(), {}, "makes torch.float32 of float64 states"),
        (lambda x: x.abs().sqrt() * 0.5 * x.sign(), torch.cat([torch.zeros(1, 2), cloud(9)]), {}, "not finite at"),
        ("words", cloud(), {}, "neither a recurrent subject nor a function"),
        (lambda x: x, cloud(), {"input": "mean"}, "is given numbers"),
        (subject(cell="rnn"), cloud(), {}, "states have 2 numbers, but this subject's have 10"),
        (subject(cell="rnn"), cloud(9, 10), {"input": [1.0, 2.0]}, "reads 3 finite numbers"),
        (subject(cell="rnn"), cloud(9, 10), {"input": "loud"}, "no input is called 'loud'"),
        (subject(cell="rnn"), cloud(9, 10), {"input": "mean"}, "that of a dataset"),
        (subject(cell="rnn", bidirectional=True), cloud(9, 10), {}, "reads the end first"),
        (
            Transformer(TransformerConfig(n_layers=1, d_model=8, n_heads=1, d_vocab=5, n_ctx=4)),
            cloud(),
            {},
            "nothing in it",
        ),
        (Recurrent(RecurrentConfig(cell="rnn", d_model=2, d_vocab=6)), cloud(), {"input": 6}, "there is no token 6"),
    ],
)
def test_what_is_wrong_is_one_sentence(function, starts, settings, sentence, as_in_a_script):
    with pytest.raises(ValueError, match=sentence) as error:
        find_fixed_points(function, starts, **settings)
    assert "\n" not in str(error.value)
