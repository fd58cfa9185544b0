"""What a recurrent subject held at each token, against the subject itself and counts by hand."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from models import Recurrent, RecurrentConfig, Seq2Seq, Seq2SeqConfig, Transformer, TransformerConfig
from workbench.dynamics import (
    StatesReading,
    gate_saturation,
    has_recurrence,
    is_gate,
    most_varying,
    read_states,
)
from workbench.features import read_prompt
from workbench.features.reading.text import MAX_TOKENS

TEXT = "def f(self): return self\n"


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<|bos|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT * 20], trainer)
    return tokenizer


def subject(tokenizer, **changes) -> Recurrent:
    config = {"cell": "gru", "n_layers": 2, "d_model": 12, "d_vocab": tokenizer.get_vocab_size(), "n_ctx": 40}
    model = Recurrent(RecurrentConfig(**config | changes)).eval()
    model.tokenizer = tokenizer
    return model


VALUES = {
    "rnn": ["h"],
    "gru": ["h", "reset", "update", "cand"],
    "lstm": ["h", "i", "f", "g", "o", "c"],
    "mingru": ["h", "update", "cand"],
}


@pytest.mark.parametrize("cell", VALUES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_value_is_what_its_hook_holds(tokenizer, cell, bidirectional):
    model = subject(tokenizer, cell=cell, bidirectional=bidirectional)
    reading = read_states(model, TEXT)
    ids = torch.tensor([0, *tokenizer.encode(TEXT).ids])
    assert reading.token_ids.tolist() == ids.tolist()
    _, cache = model.run_with_cache(ids[None])
    assert len(reading.layers) == 2
    both = [("rnn", ""), ("rnn_reverse", "_backward")] if bidirectional else [("rnn", "")]
    for layer, values in enumerate(reading.layers):
        assert next(iter(values)) == "h"
        assert set(values) == {name + suffix for name in VALUES[cell] for _, suffix in both}
        for home, suffix in both:
            for name in VALUES[cell]:
                held = cache[f"blocks.{layer}.{home}.hook_{name}"][0]
                assert held.shape == (len(ids), 12)
                np.testing.assert_allclose(values[name + suffix], held.detach().numpy(), atol=1e-6)


def test_losses_and_predictions_are_those_of_a_prompts_reading(tokenizer):
    model = subject(tokenizer)
    states, prompt = read_states(model, TEXT), read_prompt(model, None, TEXT)
    assert states.tokens == prompt.tokens
    np.testing.assert_allclose(states.loss, prompt.loss, rtol=1e-5)
    ids = torch.tensor(states.token_ids)
    np.testing.assert_allclose(
        states.loss[1:], model(ids[None], return_type="loss", loss_per_token=True)[0].detach(), rtol=1e-4
    )
    for ours, theirs in zip(states.predictions, prompt.predictions, strict=True):
        assert [word for word, _ in ours] == [word for word, _ in theirs]


def test_who_sees_the_next_token_does_not_predict_it(tokenizer):
    reading = read_states(subject(tokenizer, bidirectional=True), TEXT)
    assert np.isnan(reading.loss).all()
    assert all(found == [] for found in reading.predictions)
    classes = read_states(subject(tokenizer, d_out=3), TEXT)
    assert np.isnan(classes.loss).all()


def by_hand(values: dict[str, list[list[float]]]) -> StatesReading:
    arrays = {name: np.array(value, np.float32) for name, value in values.items()}
    n = len(next(iter(arrays.values())))
    return StatesReading(np.arange(n), ["x"] * n, np.zeros(n, np.float32), [[]] * n, [arrays])


def test_saturation_counts_tokens_and_leaves_bos_out():
    # Unit 0: shut at one of four; unit 1: open at three of four. BOS would make it otherwise.
    gate = [[0.99, 0.01], [0.05, 0.95], [0.5, 0.91], [0.1, 0.9], [0.9, 1.0]]
    reading = by_hand({"h": np.zeros((5, 2)).tolist(), "update": gate, "cand": gate})
    table = gate_saturation(reading, 0)
    assert table["gate"].tolist() == ["update", "update"], "a candidate is no gate"
    assert table["unit"].tolist() == [0, 1]
    assert table["left"].tolist() == [0.25, 0.0]
    assert table["right"].tolist() == [0.0, 0.75]


def test_a_cell_without_gates_saturates_nothing(tokenizer):
    assert gate_saturation(read_states(subject(tokenizer, cell="rnn"), TEXT), 0).empty


@pytest.mark.parametrize("cell", ["gru", "lstm", "mingru"])
def test_gates_lie_between_zero_and_one(tokenizer, cell):
    gates = read_states(subject(tokenizer, cell=cell), TEXT).gates(0)
    assert gates
    assert all(is_gate(name) and value.min() > 0 and value.max() < 1 for name, value in gates.items())


def test_the_most_varying_units_come_first():
    values = np.array([[9, 0, 0], [0, 1, 4], [0, 2, -4], [0, 3, 4]], np.float32)
    assert most_varying(values, 2).tolist() == [2, 1], "BOS does not count"


def test_what_cannot_be_read_is_one_sentence(tokenizer):
    model = subject(tokenizer)
    with pytest.raises(ValueError, match="the prompt is empty"):
        read_states(model, "")
    with pytest.raises(ValueError, match="at most 39 fit into the context"):
        read_states(model, "# " * 200)
    with pytest.raises(ValueError, match=f"at most {MAX_TOKENS - 1} are read at once"):
        read_states(subject(tokenizer, n_ctx=None), "\x00" * (MAX_TOKENS + 5))
    transformer = Transformer(TransformerConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=8, d_vocab=300))
    transformer.tokenizer = tokenizer
    assert not has_recurrence(transformer)
    with pytest.raises(ValueError, match="this model has no recurrence"):
        read_states(transformer, TEXT)
    vectors = Recurrent(RecurrentConfig(cell="gru", d_model=4, d_in=3, d_out=3))
    with pytest.raises(ValueError, match="reads 3 numbers a step, not tokens"):
        read_states(vectors, TEXT)
    both_sides = Seq2Seq(Seq2SeqConfig(cell="gru", d_model=4, d_vocab=5, d_vocab_source=5))
    assert has_recurrence(both_sides)
    with pytest.raises(ValueError, match="answers a source with a target"):
        read_states(both_sides, TEXT)
    model.tokenizer = None
    with pytest.raises(ValueError, match="no tokenizer"):
        read_states(model, TEXT)
