"""Spiking networks and tuned populations are recorded as every other subject is."""

import torch

from models import TunedPopulation, TunedPopulationConfig, load_model, save_model
from models.spiking import integrator
from models.tasks import BandLimited, Navigation
from models.tuned import population_dataset
from workbench.activations import ActivationStore, harvest


def test_a_spiking_network_is_recorded_step_by_step(tmp_path):
    task = BandLimited(objective="integral", n_steps=60, dt=0.001, cutoff=20.0)
    data = task.dataset(5, 2, seed=1)
    data.save(tmp_path)
    save_model(integrator(30), tmp_path, inputs={"data": data.id})
    model = load_model(tmp_path)
    names = ["spikes", "voltage", "rate", "decoded"]
    hooks = [f"populations.state.hook_{name}" for name in names]
    store = harvest(model, data, hooks, tmp_path / "activations" / "main", batch_size=3)
    store = ActivationStore.open(tmp_path / "activations" / "main")
    assert len(store) == 7 * 60
    out, cache = model.run_with_cache(data.tokens, names_filter=hooks)
    for hook in hooks:
        torch.testing.assert_close(store[hook][:], cache[hook].flatten(0, 1))
    torch.testing.assert_close(store[hooks[3]][:], out.flatten(0, 1))
    assert store[hooks[0]][:].unique().tolist() == [0, 1]
    rows = store.rows.to_table().to_pydict()
    assert rows["pos"][:61] == [*range(60), 0]
    torch.testing.assert_close(torch.tensor(rows["x"]).float(), data.targets.flatten())


def test_a_tuned_population_is_recorded_with_the_truth_beside_it(tmp_path):
    walks = Navigation(n_steps=30).dataset(6, 3, seed=2)
    data = population_dataset(walks)
    data.save(tmp_path)
    save_model(TunedPopulation(TunedPopulationConfig(kind="place", n_neurons=20)), tmp_path, inputs={"data": data.id})
    model = load_model(tmp_path)
    stores = [
        harvest(model, data, ["hook_rates", "hook_counts"], tmp_path / "activations" / name, batch_size=size)
        for name, size in (("one", 4), ("other", 9))
    ]
    one, other = (store["hook_counts"][:] for store in stores)
    assert torch.equal(one, other), "the spikes do not depend on the batches"
    assert one.shape == (9 * 30, 20)
    rows = stores[0].rows.to_table().to_pydict()
    at = torch.tensor([rows["x"], rows["y"]]).T.float()
    distance = torch.cdist(at, model.field.centres)
    torch.testing.assert_close(
        stores[0]["hook_rates"][:], 0.1 + 19.9 * torch.exp(-(distance**2) / 0.08), rtol=1e-4, atol=1e-4
    )
