"""SAEs on disk: SAELens's layout to the letter, a round trip, and refusals by name."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.sae import SAEConfig, build_sae, load_sae, save_sae


def small_sae(**config):
    cfg = SAEConfig(
        **(
            {"d_in": 8, "d_sae": 24, "k": 3, "hook_name": "blocks.0.mlp.hook_post", "model_name": "tiny", "seed": 5}
            | config
        )
    )
    sae = build_sae(cfg)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return sae


def rows(n=50, d=8):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(9))


def rewrite_config(folder, **changes):
    path = folder / "cfg.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def test_what_is_saved_comes_back(tmp_path):
    sae = small_sae()
    back = load_sae(save_sae(sae, tmp_path / "sae"))
    assert back.cfg == sae.cfg
    assert type(back) is type(sae)
    for name, value in sae.named_parameters():
        assert torch.equal(value, back.get_parameter(name))
    assert torch.equal(sae(rows()), back(rows()))
    assert not back.training
    assert not any(p.requires_grad for p in back.parameters())


def test_the_files_are_those_that_saelens_reads(tmp_path):
    save_sae(small_sae(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    config = json.loads((tmp_path / "cfg.json").read_text())
    metadata = config.pop("metadata")
    assert config == {
        "architecture": "topk",
        "d_in": 8,
        "d_sae": 24,
        "k": 3,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": False,
    }
    assert metadata["sae_lens_version"] >= "6.0.0"
    assert metadata["hook_name"] == "blocks.0.mlp.hook_post"
    assert metadata["model_name"] == "tiny"
    assert {"hook_head_index", "context_size", "prepend_bos"} <= metadata.keys()
    weights = load_file(tmp_path / "sae_weights.safetensors")
    assert {name: tuple(w.shape) for name, w in weights.items()} == {
        "W_enc": (8, 24),
        "W_dec": (24, 8),
        "b_enc": (24,),
        "b_dec": (8,),
    }
    assert all(w.dtype == torch.float32 and w.is_contiguous() for w in weights.values())


def test_the_weights_lie_row_by_row_on_disk(tmp_path):
    # The encoder is kept latent by latent in memory; the file must not be.
    sae = small_sae()
    assert not sae.W_enc.is_contiguous()
    save_sae(sae, tmp_path)
    raw = (tmp_path / "sae_weights.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    begin, _ = json.loads(raw[8 : 8 + length])["W_enc"]["data_offsets"]
    first_row = struct.unpack("<24f", raw[8 + length + begin :][: 24 * 4])
    assert torch.equal(torch.tensor(first_row), sae.W_enc[0].detach())


def test_saelens_settings_that_act_at_run_time_are_folded_in(tmp_path):
    sae = small_sae(dtype="float64")
    weights = {name: value.detach().clone().contiguous() for name, value in sae.named_parameters()}
    save_sae(sae, tmp_path)
    rewrite_config(tmp_path, rescale_acts_by_decoder_norm=True, apply_b_dec_to_input=False)
    x = rows().double()
    norm = weights["W_dec"].norm(dim=1)
    pre = (x @ weights["W_enc"] + weights["b_enc"]) * norm
    values, places = pre.topk(3, dim=1)
    f = torch.zeros_like(pre).scatter(1, places, values.relu())
    torch.testing.assert_close(load_sae(tmp_path).encode(x), f)
    torch.testing.assert_close(load_sae(tmp_path)(x), (f / norm) @ weights["W_dec"] + weights["b_dec"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gated", "metadata": {}}, "no SAE architecture is called 'gated': there are topk"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations 'layer_norm'"),
        ({"reshape_activations": "hook_z"}, "reshape_activations 'hook_z'"),
        ({"d_sae": 25}, r"W_dec is \(24, 8\) where \(25, 8\) is wanted"),
        ({"k": 25}, "k = 25 latents cannot be active"),
        ({"k": ...}, "has no 'k'"),
        ({"dtype": "float64"}, "its weights are float32 where its config says float64"),
    ],
)
def test_an_inconsistent_file_is_refused_by_name(tmp_path, changes, message):
    folder = save_sae(small_sae(), tmp_path / "mine")
    rewrite_config(folder, **changes)
    with pytest.raises(ValueError, match=message) as refusal:
        load_sae(folder)
    assert str(folder) in str(refusal.value)


def test_weights_of_another_architecture_are_refused(tmp_path):
    folder = save_sae(small_sae(), tmp_path / "mine")
    weights = load_file(folder / "sae_weights.safetensors")
    save_file(weights | {"threshold": torch.zeros(24)}, folder / "sae_weights.safetensors")
    with pytest.raises(ValueError, match="threshold is not known"):
        load_sae(folder)


def test_a_folder_without_an_sae_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no SAE: it has no cfg\.json"):
        load_sae(tmp_path)
    save_sae(small_sae(), tmp_path)
    weights = tmp_path / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is damaged"):
        load_sae(tmp_path)
    weights.unlink()
    with pytest.raises(ValueError, match=r"it has no sae_weights\.safetensors"):
        load_sae(tmp_path)
