"""`SpikingNetwork`: decoders, factored weights, functions between populations, hooks, and the network on disk."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor

from models import load_model, save_model
from models.spiking import (
    ConnectionConfig,
    Population,
    PopulationConfig,
    SpikingNetwork,
    SpikingNetworkConfig,
    integrator,
)
from models.spiking.decoding import fitted, regressor
from models.spiking.encoding import in_ball, on_sphere, usual_points


def pair(function="square", neuron="lif_rate", n=120, **more):
    """One population tells another a function of what it is told."""
    usual = {
        "d_in": 1,
        "populations": {
            "a": PopulationConfig(n_neurons=n, neuron=neuron),
            "b": PopulationConfig(n_neurons=n, neuron=neuron),
        },
        "connections": (
            ConnectionConfig(pre="input", post="a", synapse=None),
            ConnectionConfig(pre="a", post="b", function=function),
        ),
        "dtype": torch.float64,
    }
    return SpikingNetwork(SpikingNetworkConfig(**(usual | more)))


def held(values, n_steps=150):
    return torch.as_tensor(values, dtype=torch.float64)[:, None, None].expand(-1, n_steps, 1).clone()


def test_decoders_are_those_of_nengo():
    """Nengo 4.1 (LstsqL2, reg .1) given the same encoders, rates, intercepts and evaluation points."""
    population = Population(PopulationConfig(n_neurons=5), torch.float64)
    gain, bias = population.neuron.gain_and_bias(
        torch.tensor([200, 250, 300, 350, 400]).double(),
        torch.tensor([-0.52, -0.31, 0.03, 0.24, 0.47], dtype=torch.float64),
    )
    assert gain.tolist() == pytest.approx([4.06523815, 7.25826866, 14.95418056, 30.04855875, 74.53223266], abs=1e-7)
    population.tune(torch.tensor([[1.0], [-1], [1], [-1], [1]]).double(), gain, bias)
    points = torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None]
    activities = population.activities(points)
    coef, offset = fitted(regressor(activities, 0.1), activities, torch.cat([points, points**2], 1))
    golden = [
        [0.000855356519234, -0.00119590636117, 0.00117042999044, -0.00155126215489, 0.000924868927476],
        [-0.000176074268774, 0.000248437358299, 0.000732403284947, 0.00170098866729, 0.00141378996024],
    ]
    assert coef.T.tolist() == [pytest.approx(row, rel=1e-6, abs=1e-12) for row in golden]
    assert offset.tolist() == [0, 0]


@pytest.mark.parametrize("d", [1, 2, 5])
def test_encoders_lie_on_the_sphere_and_points_fill_the_ball_evenly(d):
    generator = torch.Generator().manual_seed(0)
    encoders, points = on_sphere(4000, d, generator), in_ball(4000, d, generator)
    assert encoders.norm(dim=1).tolist() == pytest.approx([1] * 4000)
    assert encoders.mean(0).abs().max() < 0.05
    assert points.norm(dim=1).max() <= 1
    assert (points.norm(dim=1) < 0.5 ** (1 / d)).double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert [usual_points(10, 1), usual_points(10, 3), usual_points(10, 9), usual_points(4000, 1)] == [
        *(750, 1500, 2500, 8000)
    ]


def test_a_population_is_made_as_its_config_says():
    cfg = PopulationConfig(n_neurons=500, d=2, radius=3.0, max_rates=(100, 150), intercepts=(-0.5, 0.5))
    population = SpikingNetwork(SpikingNetworkConfig(d_in=1, populations={"a": cfg})).population("a")
    along = population.activities(3.0 * population.encoders.double())
    assert 100 <= along.diagonal().min() <= along.diagonal().max() <= 150.001
    onset = (1 - population.bias) / population.gain
    assert -0.5001 <= onset.min() < -0.45
    assert 0.45 < onset.max() <= 0.5001
    assert population.points.norm(dim=1).max() <= 3.0001
    assert population.points.shape == (1000, 2)


@pytest.mark.parametrize("neuron", ["lif_rate", "lif"])
@pytest.mark.parametrize(
    ("function", "truth"), [("identity", lambda x: x), ("square", lambda x: x**2), ("absolute", abs)]
)
def test_a_function_is_computed_on_the_way_from_one_population_to_another(neuron, function, truth):
    values = np.array([-0.8, -0.3, 0.0, 0.5, 0.9])
    out = pair(function, neuron, n=300)(held(values))[:, 80:].mean(1)[:, 0]
    assert out.tolist() == pytest.approx([truth(v) for v in values], abs=0.08)


def test_a_product_of_two_numbers_is_decoded_from_the_population_that_represents_both():
    cfg = SpikingNetworkConfig(
        d_in=2,
        populations={
            "both": PopulationConfig(n_neurons=400, d=2, radius=1.5, neuron="lif_rate"),
            "product": PopulationConfig(n_neurons=100, neuron="lif_rate"),
        },
        connections=(
            ConnectionConfig(pre="input", post="both", synapse=None),
            ConnectionConfig(pre="both", post="product", function="product", transform=[[-1.0]]),
        ),
    )
    x = torch.tensor([[0.9, 0.8], [0.9, -0.8], [-0.5, -1.0], [0.0, 1.0]])
    out = SpikingNetwork(cfg)(x[:, None].expand(-1, 100, -1))[:, -1, 0]
    assert out.tolist() == pytest.approx((-x.prod(1)).tolist(), abs=0.08)


def test_the_factored_connection_is_the_dense_product():
    """Currents through `W = D E`, cell by cell, are those of decoding and encoding again."""
    net = pair("identity", "lif", n=60)
    _, cache = net.run_with_cache(held([0.7, -0.2], 50))
    W = net.weights("a_to_b")
    assert W.shape == (60, 60)
    assert torch.linalg.matrix_rank(W) == 1
    spikes, current = cache["populations.a.hook_spikes"], cache["populations.b.hook_current"]
    arriving, share = torch.zeros(2, 60).double(), -math.expm1(-0.001 / 0.005)
    for t in range(50):
        torch.testing.assert_close(current[:, t], arriving + net.population("b").bias)
        arriving = arriving + share * (spikes[:, t] / 0.001 @ W.T - arriving)
    assert current[:, -1].std() > 0.1


def test_solving_for_the_dense_weights_gives_the_factored_ones():
    """The ridge solution for the currents themselves factors through what is decoded."""
    net = pair("identity", n=40)
    a, b = net.population("a"), net.population("b")
    points = a.points.double()
    activities = a.activities(points)
    currents = points @ b.scaled_encoders.T
    W, _ = fitted(regressor(activities, 0.1), activities, currents)
    torch.testing.assert_close(W.T, net.weights("a_to_b"))


def test_connect_takes_any_fitted_linear_regressor():
    values = np.linspace(-0.9, 0.9, 7)
    for decoder in (Ridge(alpha=1.0), LinearRegression(), Ridge(alpha=1.0, fit_intercept=False)):
        net = pair("identity", n=100)
        a = net.population("a")
        points = a.points.numpy()
        decoder.fit(a.activities(a.points).numpy(), np.hstack([points**3 - 0.2]))
        net.connect("a", "b", decoder, transform=[[2.0]])
        assert list(net.connections) == ["input_to_a", "a_to_b"]
        out = net(held(values))[:, -1, 0]
        assert out.tolist() == pytest.approx(np.clip(2 * values**3 - 0.4, -1.1, 1.1).tolist(), abs=0.15)


def test_connect_fits_a_regressor_to_a_function_at_the_populations_own_points():
    net, other = pair("identity"), pair("square")
    net.connect("a", "b", function=lambda x: x**2)
    torch.testing.assert_close(net.connections["a_to_b"].decoders, other.connections["a_to_b"].decoders)
    unfitted = Ridge(alpha=2.0)
    net.connect("a", "b", unfitted, function=lambda x: x**2)
    assert not hasattr(unfitted, "coef_"), "a copy is fitted"
    assert net.connections["a_to_b"].offset.abs() > 0


def test_a_vector_of_one_target_is_taken_from_a_regressor_fitted_to_one():
    net = pair("identity")
    a = net.population("a")
    decoder = Ridge(alpha=1.0).fit(a.activities(a.points).numpy(), a.points.numpy()[:, 0])
    assert decoder.coef_.ndim == 1
    net.connect("a", "b", decoder)
    assert net(held([0.5]))[0, -1, 0].item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("neuron", ["lif", "lif_rate", "hodgkin_huxley"])
def test_every_hook_holds_one_value_a_step(neuron):
    net = pair("identity", neuron, n=12)
    out, cache = net.run_with_cache(held([0.5, -0.5], 8))
    shapes = {"input": 1, "current": 12, "spikes": 12, "rate": 12, "decoded": 1}
    if neuron != "lif_rate":
        shapes["voltage"] = 12
    names = {f"populations.{p}.hook_{name}" for p in "ab" for name in shapes}
    assert set(net.hook_dict) == names | {"connections.input_to_a.hook_decoded", "connections.a_to_b.hook_decoded"}
    for name, d in shapes.items():
        assert cache[f"populations.b.hook_{name}"].shape == (2, 8, d)
    torch.testing.assert_close(cache["populations.b.hook_decoded"], out)
    torch.testing.assert_close(
        cache["populations.b.hook_rate"] @ net.population("b").decoders + net.population("b").offset, out
    )


def test_what_nobody_looks_at_changes_nothing():
    net, x = pair("square", "lif"), held([0.5, -0.5], 60)
    plain = net(x)
    watched, _ = net.run_with_cache(x)
    torch.testing.assert_close(watched, plain)
    assert torch.equal(net(x), plain)


@pytest.mark.parametrize("d", [1, 2])
def test_a_sequence_alone_is_the_sequence_among_others(d):
    x = 3 * torch.randn(5, 250, d, generator=torch.Generator().manual_seed(0)) + 1
    net = integrator(101, d, seed=1)
    whole = net(x)
    for n in (1, 2, 3):
        assert torch.equal(torch.cat([net(x[:n]), net(x[n:])]), whole)


def test_a_hook_that_keeps_what_it_is_given_keeps_each_step():
    net, kept = pair("square", "lif"), []
    x = held([0.5], 30)
    name = "populations.a.hook_voltage"
    net.run_with_hooks(x, fwd_hooks=[(name, lambda value, hook: kept.append(value))])
    _, cache = net.run_with_cache(x, names_filter=name)
    assert torch.equal(torch.cat(kept, 1), cache[name])


def test_what_a_hook_returns_is_what_all_later_steps_go_on_from():
    net, x = pair("identity", "lif", n=200), held([0.0, 0.0], 200)

    def say(value, hook):
        return torch.full_like(value, 0.8) if hook.ctx["t"] >= 100 else None

    heard = net.run_with_hooks(x, fwd_hooks=[("connections.a_to_b.hook_decoded", say)])[..., 0]
    assert heard[:, 60:100].mean().item() == pytest.approx(0, abs=0.05)
    assert heard[:, 150:].mean().item() == pytest.approx(0.8, abs=0.05)

    silenced = net.run_with_hooks(x, fwd_hooks=[("populations.b.hook_spikes", lambda value, hook: value * 0)])
    assert (silenced == net.population("b").offset).all()
    lesioned = net.run_with_hooks(x, fwd_hooks=[("populations.a.hook_current", lambda value, hook: value * 0)])
    assert (lesioned[:, 0] == net(x)[:, 0]).all()
    assert not torch.equal(lesioned, net(x))

    before = net(x)
    once = net.run_with_hooks(
        x,
        fwd_hooks=[
            ("populations.a.hook_voltage", lambda v, hook: torch.zeros_like(v) if hook.ctx["t"] == 50 else None)
        ],
    )
    assert torch.equal(once[:, :51], before[:, :51])
    assert not torch.equal(once[:, 51:], before[:, 51:])


def test_a_saved_network_is_the_same_network(tmp_path):
    net = pair("square", "lif", dtype=torch.float32)
    net.connect("a", "b", function=lambda x: x**3, name="cubed", synapse=0.01)
    net.connect("b", "b", function=lambda x: -x, transform=[[0.3]])
    net.connect("a", "b", function=lambda x: x**2)
    assert list(net.connections) == [made.name for made in net.cfg.connections]
    net.population("b").tune(-net.population("b").encoders, net.population("b").gain, net.population("b").bias)
    assert json.loads(json.dumps(net.cfg.to_dict())) == net.cfg.to_dict()
    save_model(net, tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, SpikingNetwork)
    assert loaded.cfg == net.cfg
    x = held([0.6, -0.4], 80)
    for return_type in ("logits", "loss"):
        outputs = [m(x, return_type=return_type, targets=x) for m in (net, loaded)]
        assert torch.equal(*outputs)
    assert torch.equal(loaded.population("a").points, net.population("a").points)


def test_a_seed_makes_the_network():
    one, same, other = (pair(seed=seed) for seed in (1, 1, 2))
    state = one.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in same.state_dict().items())
    assert not torch.equal(other.state_dict()["populations.a.gain"], state["populations.a.gain"])
    assert not torch.equal(state["populations.a.gain"], state["populations.b.gain"])
    fixed = {"a": PopulationConfig(n_neurons=10, seed=5)}
    first, second = (pair(populations=fixed, connections=(), seed=s).population("a").gain for s in (1, 2))
    assert torch.equal(first, second)


def test_a_sequence_does_not_depend_on_those_beside_it():
    net, x = pair("square", "lif"), held([0.5, -0.5, 0.1], 50)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


def test_the_loss_is_the_mean_squared_error_of_real_steps():
    net, x = pair("square"), held([0.5, -0.5], 20)
    mask = torch.arange(20) < torch.tensor([[20], [5]])
    out, loss = net(x, targets=x, mask=mask, return_type="both")
    error = (out - x).square().mean(-1)
    torch.testing.assert_close(loss, error[mask].mean())
    each = net(x, targets=x, mask=mask, return_type="loss", loss_per_token=True)
    torch.testing.assert_close(each, error * mask)
    assert net(x, return_type=None) is None


def cfg(**more):
    usual = {
        "d_in": 1,
        "populations": {"a": PopulationConfig(n_neurons=5)},
        "connections": (ConnectionConfig(pre="input", post="a"),),
    }
    return SpikingNetworkConfig(**(usual | more))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: PopulationConfig(n_neurons=0), "n_neurons is 0: it must be at least 1"),
        (lambda: PopulationConfig(n_neurons=5, radius=0.0), "radius is 0.0: it must be above 0"),
        (
            lambda: PopulationConfig(n_neurons=5, neuron="izhikevich"),
            "'izhikevich' is unknown: there are lif, lif_rate",
        ),
        (lambda: PopulationConfig(n_neurons=5, max_rates=(100, 600)), "of lif cells they must lie .* 0 and 500 Hz"),
        (
            lambda: PopulationConfig(n_neurons=5, neuron="hodgkin_huxley", max_rates=(50, 200)),
            "between 52.34 and 142.34 Hz",
        ),
        (
            lambda: PopulationConfig(n_neurons=5, intercepts=(0.5, 1.0)),
            "intercepts are 0.5 to 1: they must lie in order",
        ),
        (lambda: PopulationConfig(n_neurons=5, synapse=-1.0), "a synapse of -1.0 s"),
        (
            lambda: ConnectionConfig(pre="a", post="b", function="cube"),
            "function 'cube' is unknown: there are identity",
        ),
        (lambda: ConnectionConfig(pre="input", post="b", function="square"), "no square can be decoded from it"),
        (lambda: cfg(populations={}), "there is no population"),
        (lambda: cfg(populations={"a.b": PopulationConfig(n_neurons=5)}), "cannot be called 'a.b'"),
        (lambda: cfg(populations={"input": PopulationConfig(n_neurons=5)}), "cannot be called 'input'"),
        (lambda: cfg(dt=0.003), "tau_ref of a is 0.002 s, but a step is 0.003 s"),
        (lambda: cfg(output="b"), "there is no population 'b': there are a"),
        (lambda: cfg(d_out=2), "d_out is 2, but the population a represents 1"),
        (lambda: cfg(d_in=2), r"input_to_a brings 2 numbers to the 1 of a: its transform must be \[1, 2\]"),
        (lambda: cfg(connections=(ConnectionConfig(pre="a", post="c"),)), "there is no population 'c'"),
        (lambda: cfg(connections=(ConnectionConfig(pre="a", post="a"),) * 2), "two connections are called a_to_a"),
        (lambda: SpikingNetworkConfig.from_dict(cfg().to_dict() | {"x": 1}), "has no field x"),
        (lambda: pair().connect("a", "c"), "there is no population 'c'"),
        (lambda: pair().connect("a", "b", Ridge()), "the decoder is not fitted"),
        (lambda: pair().connect("a", "b", Ridge().fit(np.eye(3), np.eye(3))), "of 3 cells, but the population has 120"),
        (
            lambda: pair().connect("a", "b", Ridge().fit(np.eye(120), np.eye(120)), function=abs),
            "the decoder is fitted already",
        ),
        (lambda: pair().connect("a", "b", KNeighborsRegressor(), function=abs), "no linear regressor"),
        (lambda: pair().connect("a", "b", function=lambda x: x.expand(-1, 2)), r"transform must be \[1, 2\]"),
        (lambda: pair().connect("a", "b", function=lambda x: x[0]), r"it must make \[750, d\]"),
        (lambda: pair()(held([math.nan])), "NaN or infinite"),
        (lambda: pair()(held([1.0]).expand(-1, -1, 2)), r"the input must be numbers \[batch, pos, 1\]"),
        (lambda: pair()(held([1.0]), return_type="loss"), "a loss needs targets"),
    ],
)
def test_what_makes_no_sense_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_cells_whose_decoders_were_given_are_not_drawn_anew():
    net = pair("identity")
    net.init_weights(3)
    net.connect("a", "b", function=lambda x: x**2)
    with pytest.raises(ValueError, match="the decoders of a_to_b were given for these cells"):
        net.init_weights(3)


@pytest.mark.parametrize("neuron", ["lif", "hodgkin_huxley"])
def test_an_edited_voltage_that_is_no_number_is_refused(neuron):
    with pytest.raises(ValueError, match="values at populations.a.hook_voltage are NaN or infinite after its hooks"):
        pair("identity", neuron, n=5).run_with_hooks(
            held([0.5], 3), fwd_hooks=[("populations.a.hook_voltage", lambda v, hook: v * math.nan)]
        )


def test_a_population_that_never_fires_is_told_of():
    net = pair()
    a = net.population("a")
    a.tune(a.encoders, a.gain, a.bias - 1e4)
    with pytest.raises(ValueError, match="no cell of the population is active"):
        net.solve()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: PopulationConfig(n_neurons=5, d=0), "d is 0: it must be at least 1"),
        (lambda: PopulationConfig(n_neurons=5, seed=-1), "seed is -1"),
        (lambda: PopulationConfig(n_neurons=5, radius=math.inf), "radius is inf"),
        (lambda: ConnectionConfig(pre="a", post="b", transform=[[math.nan]]), "transform of a_to_b holds NaN"),
        (lambda: pair(n=5).weights("nope"), "no connection 'nope': there are input_to_a, a_to_b"),
        (lambda: integrator(10, d=0), "A has no row"),
        (
            lambda: pair(n=5).population("a").tune(torch.ones(3, 1), torch.ones(3), torch.ones(3)),
            r"of these cells they must be \[5, 1\]",
        ),
        (
            lambda: pair(n=50).connect("a", "b", function=lambda x: x / 0),
            "NaN or infinite numbers at some of the points",
        ),
    ],
)
def test_what_no_network_can_be_is_one_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
