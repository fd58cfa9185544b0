"""Alignments as tables, and how many of them are right, beside loops over every target position."""

import numpy as np
import pytest
import torch

from models import EncoderDecoderTransformer, EncoderDecoderTransformerConfig, Seq2Seq, Seq2SeqConfig
from models.tasks import Copy, DateNormalisation
from workbench.attention.alignments import alignment_accuracy, alignments, right_places
from workbench.reproductions.alignment import where_to_look

TASK = Copy(n_symbols=8, min_length=3, max_length=6)


def recurrent(seed=0, attention="bahdanau", **changes):
    shape = {"cell": "gru", "d_model": 8, "n_ctx": 20, "d_vocab": 10, "d_vocab_source": 10} | changes
    return Seq2Seq(Seq2SeqConfig(attention=attention, seed=seed, **shape))


def transformer(seed=0):
    return EncoderDecoderTransformer(
        EncoderDecoderTransformerConfig(
            n_layers=2, d_model=16, n_heads=2, d_head=8, d_mlp=16, n_ctx=20, d_vocab=10, d_vocab_source=10, seed=seed
        )
    )


@pytest.mark.parametrize("task", [TASK, DateNormalisation()])
def test_labels_say_where_to_look_as_the_task_does(task):
    n = 12
    data = task.dataset(n, seed=3)
    drawn = task.draw(n, np.random.default_rng(3))
    right = right_places(data)
    assert right.shape == (*data.tokens.shape, data.source.shape[1])
    assert not right[:, 0].any()  # BOS
    seen = {row.tobytes(): i for i, row in enumerate(drawn.source)}
    found = 0
    for seq, source in enumerate(data.source.numpy()):
        if source.tobytes() in seen:
            found += 1
            real = data.mask[seq, 1:].numpy()
            truth = where_to_look(drawn)[seen[source.tobytes()], 1:]
            np.testing.assert_array_equal(right[seq, 1:][real], truth[real])
    assert found


@pytest.mark.parametrize("model", [recurrent(), recurrent(attention="luong_dot"), transformer()])
def test_the_table_holds_every_weight_between_real_positions(model):
    data = TASK.dataset(5)
    right = right_places(data)
    table = alignments(model, data, untrained=model, right=right, batch_size=2)
    names = sorted(set(table["hook"]))
    _, cache = model.run_with_cache(**data.batch(slice(None)), names_filter=names)
    for line in table.sample(200, random_state=0).itertuples():
        weight = cache[line.hook][line.sequence, line.head, line.target, line.source]
        assert line.weight == pytest.approx(float(weight), abs=1e-6)
        assert line.right == right[line.sequence, line.target, line.source]
    n_heads = sum(cache[name].shape[1] for name in names)
    pairs = int((data.mask.sum(1) * data.source_mask.sum(1)).sum())
    assert len(table) == 2 * n_heads * pairs
    sums = table.groupby(["hook", "head", "sequence", "target", "variant"])["weight"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    kept = [c for c in table if c != "variant"]
    first, second = (of[kept].reset_index(drop=True) for _, of in table.groupby("variant"))
    assert first.equals(second)


def test_accuracy_is_counted_position_by_position():
    data, model, other = TASK.dataset(9), recurrent(), recurrent(seed=1)
    found = alignment_accuracy(model, data, untrained=other, batch_size=4).set_index("variant")
    right = right_places(data)
    for variant, subject in (("trained", model), ("untrained", other)):
        _, cache = subject.run_with_cache(**data.batch(slice(None)), names_filter="attn.hook_pattern")
        pattern = cache["attn.hook_pattern"][:, 0].detach().numpy()
        mass, top = [], []
        for seq in range(9):
            for t in range(1, int(data.mask[seq].sum())):
                if right[seq, t].any():
                    mass.append(pattern[seq, t][right[seq, t]].sum())
                    top.append(right[seq, t, pattern[seq, t].argmax()])
        line = found.loc[variant]
        assert line["positions"] == len(mass) > 10
        assert line["mass"] == pytest.approx(np.mean(mass), abs=1e-6)
        assert line["argmax"] == pytest.approx(np.mean(top))
        assert line["mass_low"] <= line["mass"] <= line["mass_high"]
    lengths = data.source_mask.sum(1).numpy()
    # A sequence of n symbols asks n − 1 of them after BOS, each of which is one of n places.
    assert found.loc["uniform", "mass"] == pytest.approx(sum((lengths - 1) / lengths) / sum(lengths - 1))


def test_a_decoder_that_looks_where_it_should_scores_1():
    data, model = TASK.dataset(9), transformer()
    hook = "decoder_blocks.1.cross_attn.hook_pattern"
    right = right_places(data)

    def ideal(pattern, hook):
        return torch.from_numpy(right).float()[:, None].expand_as(pattern).contiguous()

    with model.hooks(fwd_hooks=[(hook, ideal)]):
        found = alignment_accuracy(model, data, batch_size=9)
    ours = found[(found["hook"] == hook) & (found["variant"] == "trained")]
    assert ours[["mass", "argmax"]].to_numpy().tolist() == [[1, 1], [1, 1]]
    others = found[(found["hook"] != hook) & (found["variant"] == "trained")]
    assert (others["mass"] < 0.6).all()


def test_bad_input_is_one_plain_sentence(as_in_a_script):
    data, model = TASK.dataset(4), recurrent()
    with pytest.raises(ValueError, match="no attention"):
        alignments(recurrent(attention="none"), data)
    with pytest.raises(ValueError, match=r"must be \[4, 8, 6\]"):
        alignments(model, data, right=np.ones((4, 8, 5), dtype=bool))
    with pytest.raises(ValueError, match="no target position"):
        alignment_accuracy(model, data, np.zeros((4, 8, 6), dtype=bool))
    data.labels = None
    with pytest.raises(ValueError, match="no label 'span_start'"):
        alignment_accuracy(model, data)
