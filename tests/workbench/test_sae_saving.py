"""SAEs on disk: what is saved comes back, and what does not fit together is refused by name."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_saes import KINDS, OWN, rows, small_sae

from workbench.sae import load_sae, save_sae

LAYOUTS = {
    "saelens": ("cfg.json", "sae_weights.safetensors"),
    "dictionary_learning": ("config.json", "ae.pt"),
    "sparsify": ("cfg.json", "sae.safetensors"),
}


def rewrite_config(folder, **changes):
    path = folder / "cfg.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def rewrite_own(folder, **changes):
    metadata = json.loads((folder / "cfg.json").read_text())["metadata"]
    own = metadata["workbench"] | changes
    rewrite_config(folder, metadata=metadata | {"workbench": {k: v for k, v in own.items() if v is not ...}})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", OWN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_saved_comes_back(tmp_path, architecture, kind, dtype):
    sae = small_sae(architecture, kind, dtype=dtype)
    back = load_sae(save_sae(sae, tmp_path / "sae"))
    assert back.cfg == sae.cfg
    assert type(back) is type(sae)
    assert back.state_dict().keys() == sae.state_dict().keys()
    for name, value in sae.state_dict().items():
        assert torch.equal(value, back.state_dict()[name])
    x = rows(dtype=sae.b_dec.dtype)
    x = torch.stack([x, x.flip(0)], 1) if kind == "crosscoder" else x
    assert torch.equal(sae(x), back(x))
    assert back.encode_sparse(x).l0().sum() > 0
    assert not back.training
    assert not any(p.requires_grad for p in back.parameters())


def test_saving_again_replaces_what_was_there(tmp_path):
    save_sae(small_sae("jumprelu"), tmp_path, densities=torch.full((24,), 0.5))
    save_sae(small_sae("gated"), tmp_path)
    assert load_sae(tmp_path).cfg.architecture == "gated"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cfg.json", "sae_weights.safetensors"]


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


def test_densities_are_saved_as_saelens_reads_them(tmp_path):
    densities = torch.linspace(0, 1, 24)
    save_sae(small_sae(), tmp_path, densities=densities)
    found = load_file(tmp_path / "sparsity.safetensors")
    assert found.keys() == {"sparsity"}
    torch.testing.assert_close(found["sparsity"], torch.log10(densities + 1e-10))
    assert found["sparsity"][0] == -10
    assert load_sae(tmp_path).cfg == small_sae().cfg


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gated"}, "its config contradicts itself in architecture"),
        ({"architecture": ...}, "its config contradicts itself in architecture"),
        ({"normalize_activations": "layer_norm"}, "its config contradicts itself in normalize_activations"),
        ({"d_sae": 25}, "its config contradicts itself in d_sae"),
        ({"k": 25}, "its config contradicts itself in k"),
        ({"k": ..., "d_in": ...}, "its config contradicts itself in d_in, k"),
        ({"dtype": "float64"}, "its config contradicts itself in dtype"),
        ({"rescale_acts_by_decoder_norm": True}, "contradicts itself in rescale_acts_by_decoder_norm"),
        ({"architecture": "batchtopk", "metadata": {"sae_lens_version": "6.54.0"}}, "'batchtopk' is not known here"),
        ({"metadata": []}, r"metadata is \[\] where an object is wanted"),
        ({"metadata": {"workbench": "mine"}}, "workbench is 'mine' where an object is wanted"),
    ],
)
def test_our_config_and_saelens_s_must_say_the_same(tmp_path, changes, message):
    folder = save_sae(small_sae(), tmp_path / "mine")
    rewrite_config(folder, **changes)
    with pytest.raises(ValueError, match=message) as refusal:
        load_sae(folder)
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vq"}, "no SAE architecture is called 'vq'"),
        ({"architecture": "batchtopk"}, "its config contradicts itself in architecture"),
        ({"architecture": ...}, "its metadata has no architecture"),
        ({"k": 25}, "k = 25 latents cannot be active"),
        ({"k": 4}, "its config contradicts itself in k"),
        ({"k": 3.0}, "k is 3.0 where a whole number is wanted"),
        ({"k": True}, "k is True where a whole number is wanted"),
        ({"d_in": "8"}, "d_in is '8' where a whole number is wanted"),
        ({"d_out": 8}, "its config contradicts itself in apply_b_dec_to_input, architecture, d_out"),
        ({"n_layers": 2}, "its config contradicts itself in d_in"),
        ({"hook_names": "ab"}, "hook_names is 'ab' where a list is wanted"),
        ({"hook_name": "blocks.1.mlp.hook_post"}, "its config contradicts itself in hook_name"),
        ({"skip": None}, "skip is None where true or false is wanted"),
        ({"temperature": 1}, "its config has temperature, which is not known here"),
    ],
)
def test_a_changed_config_of_ours_is_refused(tmp_path, changes, message):
    folder = save_sae(small_sae(), tmp_path / "mine")
    rewrite_own(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load_sae(folder)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    folder = save_sae(small_sae(), tmp_path / "mine")
    path = folder / "sae_weights.safetensors"
    weights = load_file(path)
    for changed, message in (
        (weights | {"threshold": torch.zeros(24)}, "threshold is not known"),
        ({k: v for k, v in weights.items() if k != "b_enc"}, "b_enc is missing"),
        ({k: v for k, v in weights.items() if k != "W_dec"}, "without W_dec"),
        (weights | {"W_dec": torch.zeros(25, 8)}, r"W_dec is \(25, 8\) where \(24, 8\) is wanted"),
        (weights | {"b_enc": torch.zeros(25)}, r"b_enc is \(25,\) where \(24,\) is wanted"),
        ({k: v.double() for k, v in weights.items()}, "its weights are float64 where its config says float32"),
        (weights | {"b_enc": weights["b_enc"].half()}, "its weights are float16, float32 where its"),
        (weights | {"b_dec": torch.full((8,), torch.nan)}, "b_dec holds NaN"),
        (weights | {"b_dec": torch.zeros(8, dtype=torch.int32)}, "its weights are float32, int32"),
    ):
        save_file(changed, path)
        with pytest.raises(ValueError, match=message):
            load_sae(folder)


def test_a_folder_without_an_sae_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no SAE: it has none of sae_weights.safetensors, ae.pt, sae.safet"):
        load_sae(tmp_path)
    save_sae(small_sae(), tmp_path)
    (tmp_path / "cfg.json").unlink()
    with pytest.raises(ValueError, match=r"holds no SAE: it has no cfg\.json"):
        load_sae(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_files_say_which_layout_it_is(tmp_path, layout):
    save_sae(small_sae(), tmp_path, layout=layout)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(LAYOUTS[layout])
    assert load_sae(tmp_path).cfg.architecture == "topk"
    for other in set(LAYOUTS) - {layout}:
        with pytest.raises(ValueError, match=f"holds an SAE in the layout {layout}: choose another folder"):
            save_sae(small_sae(), tmp_path, layout=other)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(LAYOUTS[layout])


def test_weights_of_two_layouts_are_not_chosen_between(tmp_path):
    save_sae(small_sae(), tmp_path / "a")
    save_sae(small_sae(), tmp_path / "b", layout="sparsify")
    (tmp_path / "b/sae.safetensors").rename(tmp_path / "a/sae.safetensors")
    with pytest.raises(ValueError, match="holds sae_weights.safetensors and sae.safetensors: which SAE is meant"):
        load_sae(tmp_path / "a")


def test_what_cannot_be_saved_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="no layout of SAEs is called 'gguf': there are saelens, dictionary_learning"):
        save_sae(small_sae(), tmp_path / "x", layout="gguf")
    for densities in (torch.zeros(23), torch.full((24,), 1.5), torch.full((24,), torch.nan)):
        with pytest.raises(ValueError, match="densities are shares of rows, one for each of the 24 latents"):
            save_sae(small_sae(), tmp_path / "x", densities=densities)
    with pytest.raises(ValueError, match="the layout sparsify has no place for densities"):
        save_sae(small_sae(), tmp_path / "x", layout="sparsify", densities=torch.zeros(24))
    transcoder = small_sae("standard", "transcoder")
    transcoder.centre.fill_(1.0)
    with pytest.raises(ValueError, match="still in training"):
        save_sae(transcoder, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_what_is_saved_may_be_read_by_whom_any_new_file_may(tmp_path):
    """safetensors gives its files to their owner alone; a colleague reads a shared folder."""
    folder = save_sae(small_sae("topk"), tmp_path / "sae", densities=torch.full((24,), 0.1))
    (tmp_path / "new").touch()
    modes = {path.stat().st_mode for path in [*folder.iterdir(), tmp_path / "new"]}
    assert len(modes) == 1
