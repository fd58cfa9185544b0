"""dictionary_learning's layout, against the definitions of its classes (0.1) written out."""

import json

import pytest
import torch
from small_saes import D_IN, D_SAE, KINDS, OWN, K, rows, small_sae, top_k, weights_like

from workbench.sae import load_sae, save_sae

LINEAR = {"encoder.weight": (D_SAE, D_IN), "decoder.weight": (D_IN, D_SAE)}
PLAIN = {"W_enc": (D_IN, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
GROUPS = [4, 6, 14]
CLASSES = {
    "AutoEncoder": LINEAR | {"encoder.bias": (D_SAE,), "bias": (D_IN,)},
    "AutoEncoderNew": LINEAR | {"encoder.bias": (D_SAE,), "decoder.bias": (D_IN,)},
    "GatedAutoEncoder": LINEAR
    | dict.fromkeys(("r_mag", "gate_bias", "mag_bias"), (D_SAE,))
    | {"decoder_bias": (D_IN,)},
    "JumpReluAutoEncoder": PLAIN | {"threshold": (D_SAE,)},
    "AutoEncoderTopK": LINEAR | {"encoder.bias": (D_SAE,), "b_dec": (D_IN,), "k": (), "threshold": ()},
    "BatchTopKSAE": LINEAR | {"encoder.bias": (D_SAE,), "b_dec": (D_IN,), "k": (), "threshold": ()},
    "MatryoshkaBatchTopKSAE": PLAIN | {"k": (), "threshold": (), "group_sizes": (3,)},
}
OURS = {
    "AutoEncoder": "standard",
    "AutoEncoderNew": "standard",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "matryoshka_batchtopk",
}
WRITTEN = {"topk": "AutoEncoderTopK", "batchtopk": "BatchTopKSAE", "jumprelu": "JumpReluAutoEncoder"} | {
    "standard": "AutoEncoder",
    "gated": "GatedAutoEncoder",
    "matryoshka_batchtopk": "MatryoshkaBatchTopKSAE",
}


def dictionary(name, w, x):
    """`encode(x)` and `forward(x)` of what `load_dictionary` makes of the class `name` with the state dict `w`."""
    if "encoder.weight" in w:
        W_enc, W_dec = w["encoder.weight"].T, w["decoder.weight"].T
    else:
        W_enc, W_dec = w["W_enc"], w["W_dec"]
    match name:
        case "AutoEncoder":  # `from_pretrained` normalises the decoder
            norm = W_dec.norm(dim=1)
            f = ((x - w["bias"]) @ (W_enc * norm) + w["encoder.bias"] * norm).relu()
            return f, (f / norm) @ W_dec + w["bias"]
        case "AutoEncoderNew":
            f = (x @ W_enc + w["encoder.bias"]).relu()
            return f, f @ W_dec + w["decoder.bias"]
        case "GatedAutoEncoder":
            pre = (x - w["decoder_bias"]) @ W_enc
            f = (pre + w["gate_bias"] > 0) * (w["r_mag"].exp() * pre + w["mag_bias"]).relu()
            return f, f @ W_dec + w["decoder_bias"]
        case "JumpReluAutoEncoder":
            pre = x @ W_enc + w["b_enc"]
            f = (pre * (pre > w["threshold"])).relu()
            return f, f @ W_dec + w["b_dec"]
    b_enc = w["encoder.bias"] if "encoder.bias" in w else w["b_enc"]
    pre = ((x - w["b_dec"]) @ W_enc + b_enc).relu()
    f = top_k(pre, int(w["k"])) if name == "AutoEncoderTopK" else pre * (pre > w["threshold"])
    return f, f @ W_dec + w["b_dec"]


def write(folder, name, weights=None, **changes):
    """A folder as the trainers of dictionary_learning write it."""
    if weights is None:
        weights = weights_like({k: v for k, v in CLASSES[name].items() if k not in ("k", "group_sizes")})
        if "k" in CLASSES[name]:
            weights |= {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.3)}
        if "group_sizes" in CLASSES[name]:
            weights |= {"group_sizes": torch.tensor(GROUPS)}
    trainer = {"dict_class": name, "activation_dim": D_IN, "dict_size": D_SAE, "lr": 1e-3, "layer": 8}
    trainer |= {"lm_name": "pythia", "submodule_name": "resid_post_layer_8"}
    trainer |= {"k": K} if "k" in CLASSES[name] else {}
    trainer |= {"group_sizes": GROUPS} if "group_sizes" in CLASSES[name] else {}
    trainer = {key: value for key, value in (trainer | changes).items() if value is not ...}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    torch.save(weights, folder / "ae.pt")
    return weights


def raw(folder):
    return json.loads((folder / "config.json").read_text())["trainer"], torch.load(folder / "ae.pt", weights_only=True)


def close(sae, x, expected):
    f, out = expected
    assert (f > 0).any(0).sum() > 3
    torch.testing.assert_close(sae.encode(x), f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sae(x), out, atol=1e-5, rtol=1e-5)


def unit_rows(sae):
    with torch.no_grad():
        sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    return sae


@pytest.mark.parametrize("architecture", OWN)
def test_what_we_write_is_a_class_of_theirs_with_equal_outputs(tmp_path, architecture):
    sae = unit_rows(small_sae(architecture))
    trainer, weights = raw(save_sae(sae, tmp_path, layout="dictionary_learning"))
    name = WRITTEN[architecture]
    assert trainer["dict_class"] == name
    assert (trainer["activation_dim"], trainer["dict_size"]) == (D_IN, D_SAE)
    assert (trainer["lm_name"], trainer["submodule_name"]) == ("tiny", "blocks.0.mlp.hook_post")
    assert {key: tuple(value.shape) for key, value in weights.items()} == CLASSES[name]
    assert all(type(value) is torch.Tensor and value.is_contiguous() for value in weights.values())
    if "k" in weights:
        assert trainer["k"] == weights["k"].item() == K
        assert weights["k"].dtype == torch.int
        assert weights["threshold"].dtype == torch.float32
    if architecture == "matryoshka_batchtopk":
        assert trainer["group_sizes"] == weights["group_sizes"].tolist() == GROUPS
    close(sae, rows(), dictionary(name, weights, rows()))
    back = load_sae(tmp_path)
    assert back.cfg.architecture == architecture
    close(back, rows(), dictionary(name, weights, rows()))


def test_latents_of_other_lengths_are_not_scaled_on_their_loading(tmp_path):
    sae = small_sae("standard")
    trainer, weights = raw(save_sae(sae, tmp_path, layout="dictionary_learning"))
    assert trainer["dict_class"] == "AutoEncoderNew"
    close(sae, rows(), dictionary("AutoEncoderNew", weights, rows()))


@pytest.mark.parametrize("name", CLASSES)
def test_what_they_write_is_read_with_equal_outputs(tmp_path, name):
    weights = write(tmp_path, name)
    sae = load_sae(tmp_path)
    assert sae.cfg.architecture == OURS[name]
    assert (sae.cfg.model_name, sae.cfg.hook_name) == ("pythia", "resid_post_layer_8")
    close(sae, rows(), dictionary(name, weights, rows()))


@pytest.mark.parametrize("name", ["BatchTopKSAE", "MatryoshkaBatchTopKSAE"])
def test_a_threshold_that_was_never_measured_lets_all_positive_ones_pass(tmp_path, name):
    weights = write(tmp_path, name) | {"threshold": torch.tensor(-1.0)}
    write(tmp_path, name, weights)
    close(load_sae(tmp_path), rows(), dictionary(name, weights, rows()))


def test_nested_widths_are_the_sums_of_their_groups(tmp_path):
    write(tmp_path, "MatryoshkaBatchTopKSAE")
    assert load_sae(tmp_path).cfg.matryoshka_widths == (4, 10, 24)


def test_half_precision_becomes_float32(tmp_path):
    weights = {name: value.bfloat16() for name, value in write(tmp_path, "AutoEncoder").items()}
    write(tmp_path, "AutoEncoder", weights)
    wide = {name: value.float() for name, value in weights.items()}
    close(load_sae(tmp_path), rows(), dictionary("AutoEncoder", wide, rows()))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"sae"}))
@pytest.mark.parametrize("architecture", ["topk", "standard"])
def test_what_they_lack_is_refused(tmp_path, architecture, kind):
    what = "crosscoder" if kind == "crosscoder" else "transcoder"
    with pytest.raises(ValueError, match=f"dictionary_learning has no {what}s: save it in another layout"):
        save_sae(small_sae(architecture, kind), tmp_path / "x", layout="dictionary_learning")
    assert not (tmp_path / "x").exists()


def test_thresholds_that_differ_are_not_made_one(tmp_path):
    sae = small_sae("batchtopk")
    sae.threshold.mul_(torch.linspace(1, 1 + 1e-6, D_SAE))  # rounding
    _, weights = raw(save_sae(sae, tmp_path / "a", layout="dictionary_learning"))
    torch.testing.assert_close(weights["threshold"], torch.tensor(0.4))
    sae.threshold[3] = 0.5
    with pytest.raises(ValueError, match="one threshold for all latents, and those of this batchtopk SAE go from 0.4"):
        save_sae(sae, tmp_path / "b", layout="dictionary_learning")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("AutoEncoder", {"dict_class": "IdentityDict"}, "dict_class 'IdentityDict' is not known here"),
        ("AutoEncoder", {"dict_class": "CrossCoder"}, "dict_class 'CrossCoder' is not known here"),
        ("AutoEncoder", {"dict_class": "AutoEncoderNew"}, "decoder.bias is missing, bias is not known"),
        ("BatchTopKSAE", {"dict_class": "AutoEncoder"}, "bias is missing, b_dec is not known, k is not known"),
        ("AutoEncoder", {"activation_dim": 9}, r"W_enc is \(8, 24\) where \(9, 24\) is wanted"),
        ("BatchTopKSAE", {"dict_size": 10**15}, r"W_enc is \(8, 24\) where \(8, 10"),
        ("AutoEncoderTopK", {"k": 4}, "k is 3 beside the weights where its config says 4"),
        ("AutoEncoderTopK", {"k": None}, "k is None where a whole number is wanted"),
        ("MatryoshkaBatchTopKSAE", {"group_sizes": [4, 5, 15]}, "where its config says"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(tmp_path, name, changes, message):
    write(tmp_path, name, **changes)
    with pytest.raises(ValueError, match=message) as refusal:
        load_sae(tmp_path)
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("BatchTopKSAE", {"threshold": torch.zeros(D_SAE)}, r"threshold is \(24,\) where one number is wanted"),
        ("BatchTopKSAE", {"k": torch.tensor(3.0)}, "k is 3.0 beside the weights"),
        ("BatchTopKSAE", {"k": torch.tensor([3, 3])}, r"k is \[3, 3\] beside the weights"),
        ("MatryoshkaBatchTopKSAE", {"group_sizes": torch.tensor([4, 6, 13])}, "group_sizes are"),
        ("AutoEncoder", {"bias": torch.zeros(D_IN, dtype=torch.int64)}, "bias is torch.int64 where"),
        ("AutoEncoder", {"bias": torch.full((D_IN,), torch.nan)}, "bias holds NaN"),
        ("AutoEncoder", {"bias": torch.zeros(D_SAE)}, r"b_dec is \(24,\) where \(8,\) is wanted"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, name, changed, message):
    write(tmp_path, name, write(tmp_path, name) | changed)
    with pytest.raises(ValueError, match=message):
        load_sae(tmp_path)


class Payload:
    """What runs a command where a file is unpickled without care."""

    ran = False

    def __reduce__(self):
        return (setattr, (Payload, "ran", True))


@pytest.mark.parametrize("content", [Payload(), {"encoder.weight": Payload()}, [torch.zeros(3)], {"bias": 3.0}])
def test_nothing_but_tensors_is_read(tmp_path, content):
    write(tmp_path, "AutoEncoder")
    torch.save(content, tmp_path / "ae.pt")
    with pytest.raises(ValueError, match="is damaged: ae.pt"):
        load_sae(tmp_path)
    assert not Payload.ran
