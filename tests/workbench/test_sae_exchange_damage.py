"""Whatever happens to a file, it never loads as another SAE: it is refused, or what comes back is the same."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_saes import OWN, rows, small_sae

from workbench.sae import load_sae, save_sae

FILES = {
    "saelens": ("cfg.json", "sae_weights.safetensors"),
    "dictionary_learning": ("config.json", "ae.pt"),
    "sparsify": ("cfg.json", "sae.safetensors"),
}
SAVED = [("saelens", "topk", "crosscoder"), ("saelens", "gated", "transcoder"), ("saelens", "batchtopk", "skip")]
SAVED += [("saelens", "standard", "sae"), ("saelens", "matryoshka_batchtopk", "sae")]
SAVED += [("dictionary_learning", architecture, "sae") for architecture in OWN]
SAVED += [("sparsify", "topk", "sae")]
WRONG = (None, 7, 10**12, 2.5, "x", [1])
# What stands once and may be any of several: a change of it is another SAE, and nothing can tell.
ALONE = {("sparsify", "k"), ("sparsify", "transcode")}


def read_tensors(path):
    return torch.load(path, weights_only=True) if path.suffix == ".pt" else load_file(path)


def write_tensors(tensors, path):
    (torch.save if path.suffix == ".pt" else save_file)(tensors, path)


def saved(tmp_path, layout, architecture, kind):
    sae = small_sae(architecture, kind)
    if layout == "dictionary_learning":  # or its own loader would scale the latents
        with torch.no_grad():
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    folder = save_sae(sae, tmp_path / "sae", layout=layout)
    x = torch.stack([rows(), rows().flip(0)], 1)[:10] if kind == "crosscoder" else rows()[:10]
    return load_sae(folder), folder, x


def attempt(folder):
    """The SAE in a folder, or the sentence with which it is refused."""
    try:
        return load_sae(folder), ""
    except ValueError as error:
        return None, str(error)


def refused_or_same(folder, sae, x):
    """True where the folder is refused with one sentence that names it; fails where another SAE is read."""
    found, sentence = attempt(folder)
    if found is None:
        assert str(folder) in sentence
        assert sentence.endswith(".")
        assert "\n" not in sentence
        return True
    # Without our metadata a crosscoder is, as for SAELens, the SAE of its layers side by side.
    mine = x.flatten(1) if found.cfg.kind == "sae" else x
    assert torch.equal(found.encode(mine), sae.encode(x))
    assert torch.equal(found(mine).flatten(1), sae(x).flatten(1))
    return False


def spots(config, path=()):
    """The path of every value in a config, those of objects included."""
    for name, value in config.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from spots(value, (*path, name))


def at(config, path):
    return at(config[path[0]], path[1:]) if path else config


def put(config, path, value):
    """A copy of the config with another value there; without the key for `...`."""
    changed = json.loads(json.dumps(config))
    inner = at(changed, path[:-1])
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


@pytest.mark.parametrize(("layout", "architecture", "kind"), SAVED)
def test_no_single_change_of_the_config_makes_it_another(tmp_path, layout, architecture, kind):
    sae, folder, x = saved(tmp_path, layout, architecture, kind)
    path = folder / FILES[layout][0]
    config = json.loads(path.read_text())
    refused = {}
    for spot in spots(config):
        for value in (..., *WRONG):
            path.write_text(json.dumps(put(config, spot, value)))
            if value is not ... and (layout, spot[-1]) in ALONE:
                attempt(folder)
            else:
                refused[spot] = refused.get(spot, 0) + refused_or_same(folder, sae, x)
    widths = {"d_in", "d_sae", "activation_dim", "dict_size"} & {spot[-1] for spot in refused}
    assert widths
    assert all(n == 1 + len(WRONG) for spot, n in refused.items() if spot[-1] in widths)


@pytest.mark.parametrize(("layout", "architecture", "kind"), SAVED)
def test_no_single_change_of_the_weights_makes_it_another(tmp_path, layout, architecture, kind):
    sae, folder, x = saved(tmp_path, layout, architecture, kind)
    path = folder / FILES[layout][1]
    tensors = read_tensors(path)
    changed = [{other: tensors[other] for other in tensors if other != name} for name in tensors]
    changed += [tensors | {"extra": torch.zeros(3)}, {}]
    for name, value in tensors.items():
        longer = torch.cat([value, value[:1]]) if value.ndim else value.repeat(2)
        other_type = value.to(torch.int64) if value.is_floating_point() else value.float()
        changed += [tensors | {name: longer}, tensors | {name: other_type}, tensors | {name: value[None]}]
        changed += [tensors | {name: value.flatten()}] if value.ndim == 2 else []
        changed += [tensors | {name: value[1:].clone()}] if value.ndim else []
        changed += [tensors | {name: value.T.contiguous()}] if value.ndim == 2 and len(set(value.shape)) > 1 else []
    # What dictionary_learning keeps beside the weights may have other shapes: k, and for topk a threshold none reads.
    idle = {"k"} | ({"threshold"} if architecture == "topk" else set())
    for content in changed:
        write_tensors(content, path)
        refused = refused_or_same(folder, sae, x)
        same_names = content.keys() == tensors.keys()
        assert refused or (
            same_names and any(content[n].shape != tensors[n].shape for n in idle | {"k"} & set(content))
        )


@pytest.mark.parametrize("layout", FILES)
def test_a_truncated_file_is_refused(tmp_path, layout):
    sae, folder, x = saved(tmp_path, layout, "topk", "sae")
    for name in FILES[layout]:
        path = folder / name
        whole = path.read_bytes()
        for length in {*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1}:
            path.write_bytes(whole[:length])
            assert refused_or_same(folder, sae, x), (name, length)
        path.write_bytes(whole)
    assert not refused_or_same(folder, sae, x)


def shapes(sae):
    return {name: value.shape for name, value in sae.state_dict().items()}


def test_a_checksum_guards_the_weights_of_dictionary_learning(tmp_path):
    sae, folder, _ = saved(tmp_path, "dictionary_learning", "topk", "sae")
    whole = (folder / "ae.pt").read_bytes()
    spot = whole.index(sae.W_dec.T.contiguous().detach().numpy().tobytes())
    (folder / "ae.pt").write_bytes(whole[:spot] + bytes([whole[spot] ^ 64]) + whole[spot + 1 :])
    with pytest.raises(ValueError, match="is damaged: ae.pt cannot be read: the checksum of its ae.pt/data"):
        load_sae(folder)


@pytest.mark.parametrize("layout", FILES)
def test_bytes_of_rubbish_raise_nothing_but_a_sentence(tmp_path, layout):
    sae, folder, _ = saved(tmp_path, layout, "topk", "sae")
    rng = random.Random(0)
    for name in FILES[layout]:
        path = folder / name
        whole = path.read_bytes()
        # The head of a file says what the rest is; in the rest of weights any bytes are numbers.
        for _ in range(150):
            spot = rng.randrange(min(len(whole), 1200))
            path.write_bytes(whole[:spot] + rng.randbytes(rng.randint(1, 8)) + whole[spot + 8 :])
            found, sentence = attempt(folder)
            assert str(folder) in sentence if found is None else shapes(found) == shapes(sae)
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", ["sae", "transcoder"])
def test_weights_beside_another_s_config_are_refused(tmp_path, kind):
    folders = {name: save_sae(small_sae(name, kind), tmp_path / name) for name in OWN}
    for name, folder in folders.items():
        for other in OWN:
            mixed = tmp_path / f"{name}-{other}"
            mixed.mkdir()
            (mixed / "cfg.json").write_bytes((folder / "cfg.json").read_bytes())
            weights = load_file(folders[other] / "sae_weights.safetensors")
            save_file(weights, mixed / "sae_weights.safetensors")
            if weights.keys() != load_file(folder / "sae_weights.safetensors").keys():
                with pytest.raises(ValueError, match="is missing|is not known"):
                    load_sae(mixed)
            else:  # the same class of SAELens: nothing but the config tells them apart
                assert load_sae(mixed).cfg.architecture == name


@pytest.mark.parametrize("weights", FILES)
@pytest.mark.parametrize("config", FILES)
def test_a_config_of_another_layout_is_refused(tmp_path, config, weights):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for layout, place in ((config, 0), (weights, 1)):
        folder = save_sae(small_sae(), tmp_path / f"{layout}-{place}", layout=layout)
        # Under the name that the weights' layout reads.
        name = FILES[weights][place]
        (mixed / name).write_bytes((folder / FILES[layout][place]).read_bytes())
    if config == weights:
        assert load_sae(mixed).cfg.k == 3
    else:
        with pytest.raises(ValueError, match="cannot be read: its config has no"):
            load_sae(mixed)
