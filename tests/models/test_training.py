"""Training: it learns, it resumes exactly, and what it keeps can be opened."""

import json
import math

import pytest
import torch

from models import Dataset, TrainConfig, Transformer, TransformerConfig, load_model, train, training
from models.artifacts import Manifest
from models.evaluation import evaluate
from models.saving import checkpoint_steps
from models.tasks import Copy, RepeatedSequences
from models.tasks.base import example_keys

CONFIG = TrainConfig(n_steps=24, batch_size=8, lr=5e-3, warmup_steps=4, log_every=4, eval_every=8, resume_every_s=0)


def counting_data() -> Dataset:
    """Sequences that count upwards modulo 12 from a random start: one token tells the next."""
    start = torch.randint(12, (96, 1), generator=torch.Generator().manual_seed(0))
    tokens = torch.cat([torch.zeros(96, 1, dtype=torch.long), 1 + (start + torch.arange(9)) % 12], 1)
    data = Dataset(tokens)
    data.doc_table = data.doc_table.set_column(1, "split", [["train"] * 80 + ["test"] * 16])
    return data


def small_model() -> Transformer:
    return Transformer(TransformerConfig(n_layers=1, d_model=16, n_heads=2, n_ctx=10, d_vocab=13, seed=0))


def losses(frame):
    return frame[["step", "tokens", "train_loss", "heldout_loss", "lr"]]


def test_it_beats_the_baseline_that_cannot_know():
    metrics = train(small_model(), counting_data(), TrainConfig(n_steps=150, batch_size=16, lr=1e-2, warmup_steps=10))
    assert metrics.loc[0, "unigram_loss"] == pytest.approx(math.log(12), abs=0.1)
    # All but the first token after BOS, one in nine, is certain.
    assert metrics["heldout_loss"].iloc[-1] < math.log(12) / 9 + 0.15


def test_one_seed_one_result():
    first = train(small_model(), counting_data(), CONFIG)
    assert losses(first).equals(losses(train(small_model(), counting_data(), CONFIG)))


def test_a_killed_training_goes_on_to_the_same_losses(tmp_path, monkeypatch):
    whole = train(small_model(), counting_data(), CONFIG, run=tmp_path / "whole")

    step = training._Loop._step

    def killed_at_step_14(self, number):
        if number == 14:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(training._Loop, "_step", killed_at_step_14)
    with pytest.raises(KeyboardInterrupt):
        train(small_model(), counting_data(), CONFIG, run=tmp_path / "killed")
    assert not (tmp_path / "killed" / "model").exists()

    resumed_from = []

    def first_steps(self, number):
        resumed_from.append(number)
        return step(self, number)

    monkeypatch.setattr(training._Loop, "_step", first_steps)
    resumed = train(small_model(), counting_data(), CONFIG, run=tmp_path / "killed")
    assert resumed_from[0] == 12  # the last whole line of the log before the kill
    assert losses(resumed).equals(losses(whole))
    a, b = (load_model(tmp_path / name).state_dict() for name in ("whole", "killed"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert Manifest.read(tmp_path / "whole/model").id == Manifest.read(tmp_path / "killed/model").id


def test_a_run_keeps_log_spaced_checkpoints_and_its_metrics(tmp_path):
    model = small_model()
    metrics = train(model, counting_data(), CONFIG, run=tmp_path)
    assert checkpoint_steps(tmp_path) == [0, 1, 2, 4, 8, 16, 24]
    lines = [json.loads(line) for line in (tmp_path / "model/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == metrics["step"].tolist() == [0, 4, 8, 12, 16, 20, 24]
    assert {"train_loss", "heldout_loss", "tokens_per_s", "lr"} <= set(lines[-1])
    tokens = counting_data().tokens[:2]
    assert torch.equal(load_model(tmp_path)(tokens), model(tokens))
    assert not torch.equal(load_model(tmp_path, step=4)(tokens), model(tokens))


def test_a_checkpoint_that_was_not_kept_is_refused(tmp_path):
    train(small_model(), counting_data(), CONFIG, run=tmp_path)
    with pytest.raises(ValueError, match="no checkpoint was kept at step 5: there are 0, 1, 2"):
        load_model(tmp_path, step=5)


def test_a_vocabulary_smaller_than_the_datas_is_refused():
    model = Transformer(TransformerConfig(n_layers=1, d_model=16, n_heads=2, n_ctx=10, d_vocab=5))
    with pytest.raises(ValueError, match="the data has 13 token ids, but the model knows 5"):
        train(model, counting_data(), CONFIG)


def test_biases_and_gains_do_not_decay():
    matrices, vectors = training._decay_groups(small_model(), CONFIG)
    model = small_model()
    names = {id(p): n for n, p in model.named_parameters()}
    matrices, vectors = training._decay_groups(model, CONFIG)
    assert {names[id(p)].split(".")[-1] for p in vectors["params"]} >= {"b_Q", "b_in", "b_U"}
    assert all(names[id(p)].split(".")[-1].startswith("W") for p in matrices["params"])
    assert vectors["weight_decay"] == 0


def test_what_is_held_out_is_in_no_fresh_batch():
    """The task has 4 + 16 + 64 sources, and a run of fresh batches would come by every one of them."""
    task = Copy(n_symbols=4, min_length=1, max_length=3)
    data = task.dataset(4, 40)
    held_out = set(example_keys(data.split("test").tokens, data.split("test").source))
    for step in range(20):
        seen = set(example_keys(task.batch(32, 0, step)["input"], task.batch(32, 0, step)["source"]))
        kept = task.batch(32, 0, step, without=held_out)
        assert seen & held_out
        assert set(example_keys(kept["input"], kept["source"])) == seen - held_out


def test_accuracy_is_of_what_was_asked_however_the_batches_fall():
    """Where one part is asked much and another nothing, the share is of all that was asked."""
    task = RepeatedSequences(n_symbols=8, min_period=3, max_period=6, max_prefix=2, n_ctx=16)
    data = task.dataset(30).batch(slice(None))
    model = Transformer(TransformerConfig(n_layers=1, d_model=8, n_heads=1, **task.shape))
    whole = task.accuracy(model(data["input"]), data)
    for size in (1, 7, 30):
        assert evaluate(model, data, right=task.right, batch_size=size)["accuracy"] == pytest.approx(whole)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"targets": torch.full((4, 5), 9)}, "targets run from 9 to 9, but the model has 7 classes"),
        ({"tokens": torch.ones(4, 9, dtype=torch.int64)}, "sequences are 9 tokens long, but the model's context is 5"),
        ({"tokens": torch.rand(4, 5, 2)}, "this model takes tokens, but the data is of vectors"),
    ],
)
def test_data_that_does_not_fit_is_refused(changes, sentence):
    model = Transformer(TransformerConfig(n_layers=1, d_model=8, n_heads=1, n_ctx=5, d_vocab=7))
    data = Dataset(**({"tokens": torch.ones(4, 5, dtype=torch.int64)} | changes))
    with pytest.raises(ValueError, match=sentence):
        train(model, data, TrainConfig(n_steps=1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda ids: Dataset(ids, mask=torch.tensor([[False, True, True]])), "padding stands only at the end"),
        (lambda ids: Dataset(torch.full((1, 3, 2), torch.nan)), "NaN or infinite"),
        (lambda ids: Dataset(torch.empty(0, 3, dtype=torch.int64)).d_vocab, "there are no sequences"),
    ],
)
def test_data_that_contradicts_itself_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(torch.ones(1, 3, dtype=torch.int64))
