"""sparsify's layout, against the definition of its `SparseCoder` (1.3) written out."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_saes import D_IN, D_SAE, OWN, K, rows, small_sae, top_k, weights_like

from workbench.sae import load_sae, save_sae

SHAPES = {"encoder.weight": (D_SAE, D_IN), "encoder.bias": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
SKIP = {"W_skip": (D_IN, D_IN)}
# Every field of its `SparseCoderConfig`, and the width it adds.
CONFIG = {
    "activation": "topk",
    "expansion_factor": 3,
    "normalize_decoder": True,
    "num_latents": D_SAE,
    "k": K,
    "multi_topk": False,
    "skip_connection": False,
    "transcode": False,
    "d_in": D_IN,
}
KINDS = {
    "sae": {},
    "transcoder": {"transcode": True},
    "skip transcoder": {"transcode": True, "skip_connection": True},
}


def sparse_coder(config, w, x):
    """Activations (all latents) and output of a `SparseCoder`."""
    read = x if config["transcode"] else x - w["b_dec"]
    pre = (read @ w["encoder.weight"].T + w["encoder.bias"]).relu()
    f = top_k(pre, config["k"])
    return f, f @ w["W_dec"] + w["b_dec"] + (x @ w["W_skip"].T if "W_skip" in w else 0)


def write(folder, weights=None, **changes):
    config = {name: value for name, value in (CONFIG | changes).items() if value is not ...}
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    weights = weights or weights_like(SHAPES | (SKIP if config.get("skip_connection") else {}))
    save_file(weights, folder / "sae.safetensors")
    return weights


def raw(folder):
    return json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae.safetensors")


def close(sae, x, expected):
    f, out = expected
    assert (f > 0).any(0).sum() > 3
    torch.testing.assert_close(sae.encode(x), f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sae(x), out, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_write_is_a_sparse_coder_with_equal_outputs(tmp_path, kind):
    ours = {} if kind == "sae" else {"d_out": D_IN, "skip": "skip" in kind}
    sae = small_sae("topk", **ours)
    config, weights = raw(save_sae(sae, tmp_path / "layers.0.mlp", layout="sparsify"))
    assert config == CONFIG | KINDS[kind]
    assert {name: tuple(w.shape) for name, w in weights.items()} == SHAPES | (SKIP if "skip" in kind else {})
    close(sae, rows(), sparse_coder(config, weights, rows()))
    close(load_sae(tmp_path / "layers.0.mlp"), rows(), sparse_coder(config, weights, rows()))


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_is_read_with_equal_outputs(tmp_path, kind):
    weights = write(tmp_path, **KINDS[kind])
    sae = load_sae(tmp_path)
    assert sae.cfg.kind == ("sae" if kind == "sae" else "transcoder")
    assert (sae.cfg.k, sae.cfg.d_sae, sae.cfg.architecture) == (K, D_SAE, "topk")
    close(sae, rows(), sparse_coder(CONFIG | KINDS[kind], weights, rows()))


@pytest.mark.parametrize("num_latents", [0, None, ...])
def test_without_a_number_of_latents_the_expansion_factor_says_it(tmp_path, num_latents):
    write(tmp_path, num_latents=num_latents)
    assert load_sae(tmp_path).cfg.d_sae == 3 * D_IN


def test_early_versions_did_not_say_what_kind_it_is(tmp_path):
    weights = write(tmp_path, activation=..., transcode=..., skip_connection=..., multi_topk=..., signed=False)
    close(load_sae(tmp_path), rows(), sparse_coder(CONFIG, weights, rows()))


def test_half_precision_becomes_float32(tmp_path):
    weights = write(tmp_path, {name: value.bfloat16() for name, value in weights_like(SHAPES).items()})
    wide = {name: value.float() for name, value in weights.items()}
    close(load_sae(tmp_path), rows(), sparse_coder(CONFIG, wide, rows()))


@pytest.mark.parametrize("architecture", sorted(set(OWN) - {"topk"}))
def test_other_architectures_are_refused(tmp_path, architecture):
    with pytest.raises(ValueError, match=f"sparsify has no {architecture} SAEs, only topk"):
        save_sae(small_sae(architecture), tmp_path / "x", layout="sparsify")
    assert not (tmp_path / "x").exists()


def test_other_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="sparsify has no crosscoders"):
        save_sae(small_sae("topk", "crosscoder"), tmp_path / "x", layout="sparsify")
    with pytest.raises(ValueError, match="as wide as those they read, and this one reads 8 and writes 6"):
        save_sae(small_sae("topk", "transcoder"), tmp_path / "x", layout="sparsify")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "groupmax"}, "activation 'groupmax' is not known here: of sparsify's there is topk"),
        ({"activation": None}, "activation is None where a text is wanted"),
        ({"signed": True}, "signed is true"),
        ({"skip_connection": True}, "an SAE with a skip is not known here"),
        ({"activation": ...}, "its config has no activation"),
        ({"transcode": ...}, "its config has no transcode"),
        ({"skip_connection": ...}, "its config has no skip_connection"),
        ({"transcode": 1}, "transcode is 1 where true or false is wanted"),
        ({"k": ...}, "its config has no k"),
        ({"k": D_SAE + 1}, "k = 25 latents cannot be active"),
        ({"d_in": ...}, "its config has no d_in"),
        ({"num_latents": 25}, r"W_enc is \(8, 24\) where \(8, 25\) is wanted"),
        ({"num_latents": ..., "expansion_factor": ...}, "its config has no expansion_factor"),
        ({"num_latents": 10**15}, r"W_enc is \(8, 24\) where"),
        ({"d_in": 9}, r"W_enc is \(8, 24\) where \(9, 24\) is wanted"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, changes, message):
    write(tmp_path, weights_like(SHAPES), **changes)
    with pytest.raises(ValueError, match=message) as refusal:
        load_sae(tmp_path)
    assert str(tmp_path) in str(refusal.value)


def test_a_skip_that_the_config_does_not_mention_is_refused(tmp_path):
    write(tmp_path, weights_like(SHAPES | SKIP), transcode=True)
    with pytest.raises(ValueError, match="W_skip is not known"):
        load_sae(tmp_path)
    write(tmp_path, weights_like(SHAPES), transcode=True, skip_connection=True)
    with pytest.raises(ValueError, match="W_skip is missing"):
        load_sae(tmp_path)
