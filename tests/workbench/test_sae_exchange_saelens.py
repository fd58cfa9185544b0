"""SAELens's layout, against the definitions of its classes (`sae_lens/saes`, 6.54) written out."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_saes import D_IN, D_SAE, OWN, K, rows, small_sae, top_k, weights_like

from workbench.sae import load_sae, save_sae

D_OUT = 6
FIELDS = ("d_in", "d_sae", "dtype", "device", "apply_b_dec_to_input", "normalize_activations", "reshape_activations")
OWN_FIELDS = {"topk": ("k", "rescale_acts_by_decoder_norm")}
SAES = ("standard", "topk", "gated", "jumprelu")
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")


def class_weights(architecture, d_in=D_IN):
    """The parameters of SAELens's class of this name: it loads nothing less and nothing more."""
    d_out = D_OUT if "transcoder" in architecture else d_in
    shapes = {"W_enc": (d_in, D_SAE), "W_dec": (D_SAE, d_out), "b_dec": (d_out,)}
    biases = ("b_gate", "b_mag", "r_mag") if architecture == "gated" else ("b_enc",)
    biases += ("threshold",) if "jumprelu" in architecture else ()
    return shapes | dict.fromkeys(biases, (D_SAE,)) | ({"W_skip": (d_out, d_in)} if "skip" in architecture else {})


def saelens(config, w, x):
    """Activations and reconstructions by SAELens's class `config["architecture"]`."""
    name = config["architecture"]
    assert name in (*SAES, *TRANSCODERS)
    assert config["normalize_activations"] == "none"
    centred = x - w["b_dec"] * config["apply_b_dec_to_input"] if name in SAES else x
    if name == "gated":
        gate = (centred @ w["W_enc"] + w["b_gate"] > 0).to(x.dtype)
        f = gate * (centred @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu()
    else:
        pre = centred @ w["W_enc"] + w["b_enc"]
        f = pre.relu()
        if "jumprelu" in name:
            f = f * (pre > w["threshold"])
        if name == "topk":
            norm = w["W_dec"].norm(dim=-1) if config["rescale_acts_by_decoder_norm"] else torch.tensor(1.0)
            f = top_k(pre * norm, config["k"])
            return f, (f / norm) @ w["W_dec"] + w["b_dec"]
    return f, f @ w["W_dec"] + w["b_dec"] + (x @ w["W_skip"].T if "skip" in name else 0)


def write(folder, architecture, weights=None, dtype=torch.float32, /, **changes):
    """A folder as SAELens writes it."""
    config = {
        "architecture": architecture,
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": str(dtype).removeprefix("torch."),
        "device": "cuda",
        "apply_b_dec_to_input": architecture in SAES,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.20.1", "hook_name": "blocks.3.hook_resid_post", "model_name": "gpt2"},
    }
    config |= {"k": K, "rescale_acts_by_decoder_norm": False} if architecture == "topk" else {}
    config |= {"d_out": D_OUT} if architecture in TRANSCODERS else {}
    config = {name: value for name, value in (config | changes).items() if value is not ...}
    weights = weights or weights_like(class_weights(architecture), dtype)
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file(weights, folder / "sae_weights.safetensors")
    return config, weights


def raw(folder):
    return json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")


def close(sae, x, expected):
    f, out = expected
    assert (f > 0).any(0).sum() > 3
    torch.testing.assert_close(sae.encode(x), f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sae(x), out, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", OWN)
def test_what_we_write_is_a_class_of_saelens_with_equal_outputs(tmp_path, architecture):
    sae = small_sae(architecture)
    config, weights = raw(save_sae(sae, tmp_path))
    name = architecture if architecture in SAES else "jumprelu"
    assert config.keys() == {*FIELDS, "architecture", "metadata", *OWN_FIELDS.get(name, ())}
    assert {name: config[name] for name in FIELDS[2:]} == {
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    assert (config["architecture"], config["d_in"], config["d_sae"]) == (name, D_IN, D_SAE)
    metadata = config["metadata"]
    assert tuple(map(int, metadata["sae_lens_version"].split("."))) >= (6, 0, 0)
    assert (metadata["hook_name"], metadata["model_name"]) == ("blocks.0.mlp.hook_post", "tiny")
    assert {"hook_head_index", "context_size", "prepend_bos"} <= metadata.keys()
    assert {name: tuple(w.shape) for name, w in weights.items()} == class_weights(name)
    assert all(w.dtype == torch.float32 for w in weights.values())
    close(sae, rows(), saelens(config, weights, rows()))


@pytest.mark.parametrize("kind", ["transcoder", "skip"])
@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "batchtopk", "matryoshka_batchtopk"])
def test_transcoders_are_saelens_s(tmp_path, architecture, kind):
    sae = small_sae(architecture, kind)
    config, weights = raw(save_sae(sae, tmp_path))
    skip, jump = "skip_" * (kind == "skip"), "jumprelu_" * (architecture != "standard")
    assert config["architecture"] == f"{jump}{skip}transcoder"
    assert config["d_out"] == D_OUT
    assert config["apply_b_dec_to_input"] is False
    assert config["metadata"]["hook_name_out"] == "blocks.0.hook_mlp_out"
    assert {name: tuple(w.shape) for name, w in weights.items()} == class_weights(config["architecture"])
    close(sae, rows(), saelens(config, weights, rows()))


@pytest.mark.parametrize(("kind", "name"), [("transcoder", "{}_transcoder"), ("skip", "{}_skip_transcoder")])
@pytest.mark.parametrize("architecture", ["topk", "gated"])
def test_a_transcoder_that_saelens_lacks_has_a_name_that_it_refuses(tmp_path, architecture, kind, name):
    config, _ = raw(save_sae(small_sae(architecture, kind), tmp_path))
    assert config["architecture"] == name.format(architecture)
    assert config["architecture"] not in (*SAES, *TRANSCODERS)


@pytest.mark.parametrize("architecture", OWN)
def test_a_crosscoder_is_the_sae_of_its_layers_side_by_side(tmp_path, architecture):
    sae = small_sae(architecture, "crosscoder")
    config, weights = raw(save_sae(sae, tmp_path))
    assert config["d_in"] == 2 * D_IN
    assert {name: tuple(w.shape) for name, w in weights.items()} == class_weights(config["architecture"], 2 * D_IN)
    x = torch.stack([rows(), rows().flip(0)], 1)
    f, out = saelens(config, weights, x.flatten(1))
    torch.testing.assert_close(sae.encode(x), f)
    torch.testing.assert_close(sae(x).flatten(1), out)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        *[(name, {}) for name in (*SAES, *TRANSCODERS)],
        *[(name, {"apply_b_dec_to_input": False}) for name in SAES],
        ("topk", {"rescale_acts_by_decoder_norm": True}),
        ("topk", {"rescale_acts_by_decoder_norm": True, "apply_b_dec_to_input": False}),
        ("jumprelu", {"dtype": "torch.float32", "metadata": {"sae_lens_version": "7.0.0-rc.1"}}),
    ],
)
def test_what_saelens_writes_is_read_with_equal_outputs(tmp_path, architecture, changes):
    config, weights = write(tmp_path, architecture, **changes)
    close(load_sae(tmp_path), rows(), saelens(config, weights, rows()))


def test_names_of_hook_and_model_are_read(tmp_path):
    metadata = {"sae_lens_version": "6.0.0", "hook_name": "in", "hook_name_out": "out", "model_name": None}
    write(tmp_path, "skip_transcoder", metadata=metadata)
    cfg = load_sae(tmp_path).cfg
    assert (cfg.hook_name, cfg.hook_name_out, cfg.model_name) == ("in", "out", "")
    assert (cfg.kind, cfg.architecture, cfg.d_out, cfg.skip) == ("transcoder", "standard", D_OUT, True)


@pytest.mark.parametrize("architecture", [*SAES, *TRANSCODERS])
def test_reading_and_writing_again_changes_no_output(tmp_path, architecture):
    write(tmp_path / "theirs", architecture, apply_b_dec_to_input=False)
    sae = load_sae(tmp_path / "theirs")
    config, weights = raw(save_sae(sae, tmp_path / "ours"))
    assert config["architecture"] == architecture
    close(sae, rows(), saelens(config, weights, rows()))


def test_a_negative_threshold_lets_no_negative_activation_pass(tmp_path):
    _, weights = write(tmp_path, "jumprelu")
    assert (weights["threshold"] < 0).any()
    assert (load_sae(tmp_path).encode(rows()) >= 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_precision_becomes_float32_and_double_stays(tmp_path, dtype):
    config, weights = write(tmp_path, "topk", None, dtype)
    sae = load_sae(tmp_path)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert all(p.dtype == wide for p in sae.parameters())
    assert torch.equal(sae.W_enc.to(dtype), weights["W_enc"])
    x = rows(dtype=wide)
    close(sae, x, saelens(config, {name: value.to(wide) for name, value in weights.items()}, x))


@pytest.mark.parametrize("architecture", SAES)
def test_files_of_before_version_6_are_read_by_their_rules(tmp_path, architecture):
    old = {"hook_point": "blocks.1.hook_resid_pre", "model_name": "pythia", "metadata": ..., "l1_coefficient": 1e-3}
    old |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}} if architecture == "topk" else {}
    old |= {"architecture": ..., "k": ...} if architecture in ("standard", "topk") else {}
    old |= {"apply_b_dec_to_input": ..., "normalize_activations": False, "reshape_activations": ...}
    _, weights = write(tmp_path, architecture, **old)
    save_file(weights | {"scaling_factor": torch.ones(D_SAE)}, tmp_path / "sae_weights.safetensors")
    sae = load_sae(tmp_path)
    assert (sae.cfg.hook_name, sae.cfg.model_name) == ("blocks.1.hook_resid_pre", "pythia")
    new = {"k": K, "rescale_acts_by_decoder_norm": False, "normalize_activations": "none", "apply_b_dec_to_input": True}
    close(sae, rows(), saelens(new | {"architecture": architecture}, weights, rows()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize_activations": True}, "normalize_activations 'expected_average_only_in' is not folded in"),
        ({"activation_fn_str": "tanh-relu"}, "activation_fn 'tanh-relu' is not known here"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {}}, "its config has no k"),
        ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor is true"),
        ({"architecture": "gated"}, "b_gate is missing"),
        ({"sae_lens_version": "new"}, "sae_lens_version 'new' is not a version"),
    ],
)
def test_old_files_are_refused_by_name(tmp_path, changes, message):
    write(tmp_path, "standard", **({"metadata": ...} | changes))
    with pytest.raises(ValueError, match=message):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        *[
            ("standard", {"architecture": name}, f"its architecture '{name}' is not known here: of SAELens's finished")
            for name in ("temporal", "matching_pursuit", "abstopk", "batchtopk", "matryoshka_batchtopk", "Standard", "")
        ],
        ("topk", {"normalize_activations": "layer_norm"}, "normalize_activations 'layer_norm' scales every row"),
        ("topk", {"normalize_activations": "constant_norm_rescale"}, "'constant_norm_rescale' scales every row"),
        ("topk", {"normalize_activations": "covariance_whitening"}, "'covariance_whitening' is not folded in"),
        ("topk", {"normalize_activations": "expected_average_only_in"}, "'expected_average_only_in' is not folded in"),
        ("topk", {"normalize_activations": "softmax"}, "normalize_activations 'softmax' is not known here"),
        ("topk", {"reshape_activations": "heads"}, "reshape_activations 'heads' is not known here"),
        ("topk", {"dtype": "float8"}, "dtype 'float8' is not known here"),
        ("topk", {"dtype": "bfloat16"}, "its weights are float32 where its config says bfloat16"),
        ("topk", {"k": D_SAE + 1}, "k = 25 latents cannot be active"),
        ("topk", {"k": 3.5}, "k is 3.5 where a whole number is wanted"),
        ("topk", {"d_in": 9}, r"W_enc is \(8, 24\) where \(9, 24\) is wanted"),
        ("topk", {"d_sae": 10**15}, r"W_enc is \(8, 24\) where \(8, 1000000000000000\) is wanted"),
        ("topk", {"d_out": 8}, "its config has d_out, which a topk SAE has not"),
        ("standard", {"k": 3}, "its config has k, which a standard SAE has not"),
        ("jumprelu", {"rescale_acts_by_decoder_norm": True}, "has rescale_acts_by_decoder_norm, which a jumprelu SAE"),
        ("transcoder", {"apply_b_dec_to_input": True}, "apply_b_dec_to_input is true, but a transcoder"),
        ("transcoder", {"d_out": 7}, r"W_dec is \(24, 6\) where \(24, 7\) is wanted"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path, architecture, changes, message):
    write(tmp_path, architecture, **changes)
    with pytest.raises(ValueError, match=message) as refusal:
        load_sae(tmp_path)
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize("architecture", [*SAES, *TRANSCODERS])
def test_a_scaling_factor_that_does_something_is_refused(tmp_path, architecture):
    weights = weights_like(class_weights(architecture)) | {"scaling_factor": torch.full((D_SAE,), 1.5)}
    write(tmp_path, architecture, weights)
    with pytest.raises(ValueError, match="scaling_factor is not known"):
        load_sae(tmp_path)


def test_an_sae_of_hook_z_reads_flat_rows(tmp_path):
    config, weights = write(tmp_path, "standard", reshape_activations="hook_z")
    close(load_sae(tmp_path), rows(), saelens(config, weights, rows()))


@pytest.mark.parametrize("architecture", OWN)
def test_what_saelens_saved_again_is_still_ours(tmp_path, architecture):
    sae = small_sae(architecture)
    config, weights = raw(save_sae(sae, tmp_path / "ours"))
    config["metadata"] |= {"sae_lens_training_version": "6.54.12", "neuronpedia_id": None}
    write(tmp_path / "again", config["architecture"], weights, **(config | {"device": "cuda:0"}))
    back = load_sae(tmp_path / "again")
    assert back.cfg == sae.cfg
    assert torch.equal(back(rows()), sae(rows()))


def test_our_first_files_had_little_in_their_metadata(tmp_path):
    sae = small_sae("topk")
    config, _ = raw(save_sae(sae, tmp_path))
    config["metadata"]["workbench"] = {"architecture": "topk", "seed": 5}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    back = load_sae(tmp_path)
    assert (back.cfg.hook_name, back.cfg.model_name) == (sae.cfg.hook_name, sae.cfg.model_name)
    assert torch.equal(back(rows()), sae(rows()))
