"""Tables of probes: hooks in the order of the subject, labels by what is beyond the word alone."""

import re

import numpy as np
import pandas as pd
import pytest

from models import Recurrent, RecurrentConfig, Seq2Seq, Seq2SeqConfig, Transformer, TransformerConfig
from models.artifacts import ArtifactError
from workbench.probing import best_beyond_word, in_layer_order, read_results

SUBJECTS = {
    "transformer": lambda: Transformer(TransformerConfig(n_layers=11, d_model=8, n_heads=2, n_ctx=8, d_vocab=9)),
    "gru": lambda: Recurrent(RecurrentConfig(cell="gru", n_layers=2, d_model=8, d_vocab=9)),
    "seq2seq": lambda: Seq2Seq(Seq2SeqConfig(cell="gru", n_layers=2, d_vocab_source=9, d_vocab=9, d_model=8)),
}


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_blocks_come_in_the_order_in_which_the_subject_runs_through_them(subject):
    known = list(SUBJECTS[subject]().hook_dict)
    mixed = np.random.default_rng(0).permutation(known).tolist()
    found = in_layer_order(mixed)
    assert sorted(found) == sorted(known)
    assert blocks(found) == blocks(known)
    assert "embed" in found[0]
    assert in_layer_order(found) == found


def blocks(hooks):
    """The blocks that hooks are of, each once, as they come."""
    numbered = (re.match(r"\w*blocks\.\d+", hook) for hook in hooks)
    return list(dict.fromkeys(match[0] for match in numbered if match))


def line(label, hook, variant, value, **more):
    lines = {"label": label, "hook": hook, "variant": variant, "probe": "logistic", "positions": "all"}
    lines |= {"balanced_accuracy": value}
    about = {"balanced_accuracy_low": value, "balanced_accuracy_high": value, "p_value": 0.01, "selectivity": 0.0}
    return lines | about | {"classes": 2, "note": ""} | more


def table():
    """`word` follows from the word, `syntax` does not, `number` has no words, and `lost` could not be probed."""
    lines = []
    for hook, better in (("blocks.1.x", 0.1), ("blocks.0.x", 0.0)):
        lines += [line("word", hook, "probe", 0.8 + better), line("word", hook, "type alone", 0.95)]
        lines += [line("syntax", hook, "probe", 0.7 + better), line("syntax", hook, "type alone", 0.55)]
        lines += [line("number", hook, "probe", 0.6 - better), line("number", hook, "majority", 0.5)]
        lines += [
            line("lost", hook, "probe", np.nan, note="no probe: one class"),
            line("lost", hook, "majority", np.nan),
        ]
    return pd.DataFrame(lines)


def test_labels_stand_by_what_is_beyond_the_word_each_at_its_best_hook():
    best = best_beyond_word(table()).set_index("label")
    assert best.index.tolist() == ["syntax", "number", "word", "lost"]
    np.testing.assert_allclose(best["beyond"], [0.25, 0.1, -0.05, np.nan])
    assert best["hook"].tolist()[:3] == ["blocks.1.x", "blocks.0.x", "blocks.1.x"]
    assert best["than"].tolist()[:3] == ["type alone", "majority", "type alone"]
    assert best.loc["lost", "note"] == "no probe: one class"
    assert best["random subject"].isna().all()


def test_a_table_is_read_with_its_hooks_in_order_and_another_is_refused(tmp_path):
    table().to_parquet(tmp_path / "result.parquet")
    assert read_results(tmp_path)["hook"].unique().tolist() == ["blocks.0.x", "blocks.1.x"]
    assert len(read_results(tmp_path)) == len(table())
    pd.DataFrame({"hook": ["x"]}).to_parquet(tmp_path / "result.parquet")
    with pytest.raises(ArtifactError, match="is no table of probes: it lacks probe, positions, label"):
        read_results(tmp_path)
