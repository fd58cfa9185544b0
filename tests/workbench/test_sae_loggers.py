"""Logs of other libraries get every record; where a library is missing, one sentence says so."""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from workbench.sae import SAEConfig, SAETrainConfig, train_sae
from workbench.sae.loggers import tensorboard_log, wandb_log

CFG = SAEConfig(d_in=8, d_sae=16, k=2)
HOW = SAETrainConfig(n_tokens=2560, batch_size=64, log_every=10)


def trained(log):
    """A short training that is logged; its own records."""
    x = torch.randn(2560, 8, generator=torch.Generator().manual_seed(0))
    records = []

    def on_log(record):
        records.append(dict(record))
        log(record)

    train_sae(CFG, x.split(64), HOW, on_log=on_log)
    assert len(records) == 4
    return records


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in that remembers what it was told."""
    module = ModuleType("wandb")
    module.Error = type("Error", (Exception,), {})
    module.runs = []

    class Run:
        def __init__(self, **given):
            self.given, self.logged, self.ended = given, [], 0
            module.runs.append(self)

        def log(self, values, step):
            self.logged.append((step, values))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.ended += 1

    module.init = Run
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_gets_every_number_at_its_step(wandb):
    with wandb_log("project", "small", {"sae": {"k": 2}}) as log:
        records = trained(log)
    (run,) = wandb.runs
    assert run.given == {
        "project": "project",
        "name": "small",
        "config": {"sae": {"k": 2}},
        "reinit": "create_new",
    }
    assert run.logged == [(r["step"], {name: v for name, v in r.items() if name != "step"}) for r in records]
    assert run.ended == 1


def test_a_run_that_wandb_refuses_is_one_sentence(wandb):
    def refuse(**given):
        raise wandb.Error("api_key not configured (no-tty).\nmore")

    wandb.init = refuse
    with pytest.raises(ValueError, match=r"cannot begin a run \(api_key not configured \(no-tty\)\): `wandb login`"):
        wandb_log("project", "small").__enter__()


def test_the_same_calls_are_known_to_the_real_wandb(tmp_path, monkeypatch):
    """Without starting it: it would begin a service of its own."""
    real = pytest.importorskip("wandb")
    import inspect

    assert {"project", "name", "config", "reinit"} <= set(inspect.signature(real.init).parameters)
    assert {"data", "step"} <= set(inspect.signature(real.Run.log).parameters)
    assert issubclass(real.Error, Exception)


def test_tensorboard_gets_every_number_at_its_step_and_goes_on_after_a_kill(tmp_path, monkeypatch):
    writers = []

    class SummaryWriter:
        def __init__(self, log_dir, purge_step):
            self.log_dir, self.purge_step, self.scalars, self.closed = log_dir, purge_step, [], False
            writers.append(self)

        def add_scalar(self, name, value, step):
            self.scalars.append((step, name, value))

        def close(self):
            self.closed = True

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    with tensorboard_log(tmp_path) as log:
        assert writers == []  # the step from which it goes on is not known before the first record
        records = trained(log)
    (writer,) = writers
    assert (writer.log_dir, writer.purge_step, writer.closed) == (str(tmp_path), records[0]["step"], True)
    assert writer.scalars == [(r["step"], name, v) for r in records for name, v in r.items() if name != "step"]


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed")
def test_tensorboard_itself_reads_the_numbers_back(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tensorboard_log(tmp_path) as log:
        records = trained(log)
    found = EventAccumulator(str(tmp_path)).Reload()
    for name in ("explained_variance", "dead_fraction", "l0"):
        scalars = found.Scalars(name)
        assert [s.step for s in scalars] == [r["step"] for r in records]
        assert [s.value for s in scalars] == pytest.approx([r[name] for r in records])


@pytest.mark.parametrize(
    ("open_log", "module", "name"),
    [
        (lambda: tensorboard_log("logs"), "torch.utils.tensorboard", "TensorBoard"),
        (lambda: wandb_log("project", "small"), "wandb", "Weights & Biases"),
    ],
)
def test_a_library_that_is_missing_is_named(open_log, module, name, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=f"{name} is not installed: `pip install"):
        open_log().__enter__()
