"""Hub models as subjects: every value is the one that transformers' own model holds."""

import json
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from hub_folders import D_VOCAB, N_CTX, bpe, save_hub_model, write_texts

from models import Dataset, load_model, save_model
from models.artifacts import ArtifactError
from models.corpus.build import build_corpus
from models.hub import HubModel, HubModelConfig
from models.hub_files import HubFolder, quiet
from workbench.activations import harvest
from workbench.features.building.logits import direct_logit_effects
from workbench.features.reading.text import read_text

GPT2, LLAMA, GEMMA = KINDS = ["GPT2LMHeadModel", "LlamaForCausalLM", "Gemma2ForCausalLM"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("something was to be fetched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("hub")
    return {kind: save_hub_model(base / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def subjects(folders):
    return {kind: HubModel(HubModelConfig.of(f"hf:{folder}")) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def originals(folders):
    from transformers import AutoModelForCausalLM

    with quiet():
        return {
            kind: AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
            for kind, folder in folders.items()
        }


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def subject(subjects, kind):
    return subjects[kind]


@pytest.fixture
def original(originals, kind):
    return originals[kind]


def tokens_of(subject, batch=3, pos=10, seed=0):
    tokens = torch.randint(1, 290, (batch, pos), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = subject.bos
    return tokens


def parts_of(original):
    """Of each layer the MLP, its last linear map, and the map that the heads write through."""
    body = original.get_decoder()
    if hasattr(body, "h"):
        return [(layer.mlp, layer.mlp.c_proj, layer.attn.c_proj) for layer in body.h]
    return [(layer.mlp, layer.mlp.down_proj, layer.self_attn.o_proj) for layer in body.layers]


def near(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_value_is_that_of_the_original(subject, original):
    tokens = tokens_of(subject)
    seen = {}
    handles = []
    for i, (mlp, last, heads) in enumerate(parts_of(original)):
        for name, layer in ((f"blocks.{i}.mlp.hook_post", last), (f"blocks.{i}.attn.hook_z", heads)):
            handles.append(layer.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]})))
        handles.append(mlp.register_forward_hook(lambda *a, i=i: seen.update({f"blocks.{i}.mlp.out.hook_out": a[2]})))
    expected = original(tokens, output_hidden_states=True, output_attentions=True)
    for handle in handles:
        handle.remove()
    logits, cache = subject.run_with_cache(tokens)
    near(logits, expected.logits)
    for i in range(2):
        near(cache[f"blocks.{i}.hook_resid_pre"], expected.hidden_states[i])
        near(cache[f"blocks.{i}.attn.hook_pattern"], expected.attentions[i])
    near(cache["blocks.0.hook_resid_post"], expected.hidden_states[1])
    near(cache["ln_final.hook_out"], expected.hidden_states[2])
    near(cache["blocks.1.hook_resid_post"], cache["blocks.1.hook_resid_mid"] + cache["blocks.1.hook_mlp_out"])
    assert len(seen) == 6
    for name, value in seen.items():
        near(cache[name].flatten(2), value)
    assert cache["blocks.0.attn.hook_z"].shape == (3, 10, 4, 8)
    assert sum(p.numel() for p in subject.parameters()) == original.num_parameters()


@torch.no_grad()
def test_padding_is_not_seen(subject):
    tokens = tokens_of(subject)
    lengths = [10, 6, 3]
    mask = torch.arange(10) < torch.tensor(lengths)[:, None]
    padded, cache = subject.run_with_cache(tokens * mask, mask=mask)
    for row, length in enumerate(lengths):
        near(padded[row, :length], subject(tokens[row, :length])[0])
    assert (cache["blocks.1.attn.hook_pattern"][2, :, :, 3:] == 0).all()


@torch.no_grad()
def test_loss_is_that_of_the_original(subject, original):
    tokens = tokens_of(subject)
    near(subject(tokens, return_type="loss"), original(tokens, labels=tokens).loss)
    mask = torch.arange(10) < torch.tensor([10, 6, 3])[:, None]
    labels = tokens.masked_fill(~mask, -100)
    expected = original(tokens, attention_mask=mask.long(), labels=labels).loss
    near(subject(tokens, return_type="loss", mask=mask), expected)
    losses = subject(tokens, return_type="loss", loss_per_token=True, mask=mask)
    assert losses.shape == (3, 9)
    near(losses.sum() / mask[:, 1:].sum(), expected)
    targets = torch.full_like(tokens, -100)
    targets[1, 4] = 7
    logits, loss = subject(tokens, return_type="both", targets=targets)
    near(loss, -logits[1, 4].log_softmax(-1)[7])


@torch.no_grad()
def test_an_edit_changes_what_comes_after_and_nothing_before(subject):
    tokens = tokens_of(subject)
    clean, before = subject.run_with_cache(tokens)

    def edit(value, hook):
        changed = value.clone()
        changed[:, 5] = 0
        return changed

    with subject.hooks([("blocks.0.hook_mlp_out", edit)]):
        edited, after = subject.run_with_cache(tokens)
    near(after["blocks.0.hook_resid_post"][:, 5], before["blocks.0.hook_resid_mid"][:, 5])
    near(edited[:, :5], clean[:, :5])
    assert ((edited - clean)[:, 5:].abs().amax((0, 2)) > 1e-3).all()
    near(subject(tokens), clean)


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1, 2, -1])
def test_stopping_returns_the_stream_that_enters_the_block(subject, original, layer):
    tokens = tokens_of(subject)
    _, cache = subject.run_with_cache(tokens)
    name = "blocks.1.hook_resid_post" if layer == 2 else f"blocks.{layer % 2}.hook_resid_pre"
    fired = []
    names = list(subject.hook_dict)
    stopped = subject.run_with_hooks(
        tokens, fwd_hooks=[(names.__contains__, lambda _, hook: fired.append(hook.name))], stop_at_layer=layer
    )
    near(stopped, cache[name])
    assert not [
        hook for hook in fired if hook > f"blocks.{layer % 2 if layer < 2 else 2}" and hook.startswith("blocks")
    ]
    assert "hook_unembed" not in fired
    near(subject(tokens), original(tokens).logits)


def test_every_hook_has_a_value_for_each_position_and_fires_once(subject):
    tokens = tokens_of(subject, batch=2, pos=7)
    fired = []
    subject.run_with_hooks(
        tokens,
        fwd_hooks=[(lambda name: True, lambda value, hook: fired.append((hook.name, value.shape)))],
        return_type=None,
    )
    assert [name for name, _ in fired] == list(subject.hook_dict)
    for name, shape in fired:
        assert shape[0] == 2
        assert shape[subject.hook_dict[name].pos_dim] == 7
    assert subject.hook_dict["blocks.0.attn.hook_pattern"].pos_dim == 2


def test_gradients_reach_the_hooks(subject):
    tokens = tokens_of(subject)
    _, cache = subject.run_with_cache(
        tokens, return_type="loss", incl_bwd=True, names_filter="blocks.0.hook_resid_post"
    )
    assert cache["blocks.0.hook_resid_post_grad"].abs().sum() > 0


@torch.no_grad()
def test_harvest_records_what_the_cache_holds(subject, tmp_path):
    hooks = [
        "blocks.0.hook_resid_pre",
        "blocks.1.hook_resid_post",
        "blocks.0.mlp.hook_post",
        "blocks.0.attn.hook_z",
        "blocks.0.attn.hook_pattern",
    ]
    tokens = tokens_of(subject, batch=5)
    mask = torch.arange(10) < torch.tensor([10, 6, 3, 10, 2])[:, None]
    dataset = Dataset(tokens * mask, mask, bos=subject.bos)
    store = harvest(subject, dataset, hooks, tmp_path / "store", batch_size=2)
    _, cache = subject.run_with_cache(tokens * mask, mask=mask, names_filter=hooks)
    counted = mask.clone()
    counted[:, 0] = False
    for hook in hooks:
        value = cache[hook].movedim(subject.hook_dict[hook].pos_dim, 1)
        near(store[hook][:], value[counted].flatten(1))


@torch.no_grad()
def test_direct_logit_effects_are_what_the_frozen_read_out_says(subject, original):
    vectors = torch.randn(
        3, subject.hook_shapes["blocks.0.mlp.hook_post"][0], generator=torch.Generator().manual_seed(1)
    )
    effects = direct_logit_effects(subject, "blocks.0.mlp.hook_post", vectors)
    n = subject.tokenizer.get_vocab_size()
    assert effects.shape == (3, n)
    assert n < D_VOCAB
    body = original.get_decoder()
    is_gpt2, posts = hasattr(body, "h"), [None, None]
    if hasattr(body, "layers") and hasattr(body.layers[0], "post_feedforward_layernorm"):
        posts = [body.layers[0].post_feedforward_layernorm, body.layers[1].post_attention_layernorm]
    _, last, _ = parts_of(original)[0]
    written = last(vectors) - last(0 * vectors)
    written = written if posts[0] is None else written * gain_of(posts[0])
    written = written - written.mean(-1, keepdim=True) if is_gpt2 else written
    logits = original.lm_head(written * gain_of(body.ln_f if is_gpt2 else body.norm))[:, :n]
    torch.testing.assert_close(effects, logits - logits.mean(-1, keepdim=True), rtol=1e-4, atol=1e-4)
    heads = torch.randn(2, 32, generator=torch.Generator().manual_seed(2))
    _, _, o = parts_of(original)[1]
    written = o(heads) - o(0 * heads)
    written = written if posts[1] is None else written * gain_of(posts[1])
    effects = direct_logit_effects(subject, "blocks.1.attn.hook_z", heads)
    expected = direct_logit_effects(subject, "blocks.1.hook_resid_post", written)
    torch.testing.assert_close(effects, expected, rtol=1e-4, atol=1e-4)


def gain_of(norm):
    """How much a norm stretches each axis of a vector that is as long as it makes all."""
    unit = torch.tensor([1.0, -1.0]).repeat(16)
    return (norm(unit) - norm(-unit)) / 2 * unit


def test_text_starts_with_the_tokenizers_own_bos(subject):
    text = "The cat sat"
    ids = [subject.bos, *bpe().encode(text).ids]
    assert subject.to_tokens(text).tolist() == [ids]
    assert subject.bos == bpe().token_to_id("<|endoftext|>") != 0
    reading, _ = read_text(subject, text)
    assert reading.token_ids.tolist() == ids
    expected = -subject(torch.tensor([ids]))[0].log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    np.testing.assert_allclose(reading.loss[1:], expected.detach().numpy(), rtol=1e-4)


@torch.no_grad()
def test_a_run_refers_to_the_folder_and_opens_it_again(folders, kind, tmp_path):
    folder = shutil.copytree(folders[kind], tmp_path / "model")
    subject = HubModel(HubModelConfig.of(str(folder), n_ctx=16))
    saved = save_model(subject, tmp_path / "run")
    assert {p.name for p in (tmp_path / "run/model").iterdir()} == {"config.json", "manifest.json"}
    assert json.loads((tmp_path / "run/model/config.json").read_text())["architecture"] == "hub"
    again = load_model(tmp_path / "run")
    tokens = tokens_of(subject)
    assert torch.equal(again(tokens), subject(tokens))
    assert again.artifact_id == saved
    assert not again.training
    assert again.cfg.n_ctx == 16
    weights = folder / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(ArtifactError, match="the config or the weights in .* are no longer those"):
        load_model(tmp_path / "run")
    shutil.rmtree(folder)
    with pytest.raises(ArtifactError, match="this run only refers to the model .*, which is not there now"):
        load_model(tmp_path / "run")


def without(name, folder):
    (folder / name).unlink()


def as_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def reconfigured(folder, file="config.json", **changes):
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({k: v for k, v in (config | changes).items() if v is not None}))


UNFIT = {
    "only pickled weights": (as_pickle, "it has only pytorch_model.bin, and reading that could run code"),
    "no weights": (lambda f: without("model.safetensors", f), "has no model.safetensors: its weights are missing"),
    "no config": (lambda f: without("config.json", f), "it has no config.json"),
    "no tokenizer": (lambda f: without("tokenizer.json", f), "has no tokenizer that can be read|is not a fast one"),
    "no file of a tokenizer": (
        lambda f: [without(file.name, f) for file in f.glob("tokenizer*")],
        "has no tokenizer: its tokenizer.json is missing or empty",
    ),
    "no BOS, no EOS": (
        lambda f: reconfigured(f, "tokenizer_config.json", eos_token=None),
        "has neither a BOS nor an EOS token",
    ),
    "more layers than weights": (
        lambda f: reconfigured(f, n_layer=3),
        "are not whole: there is no fitting transformer.h.2",
    ),
    "code of its own": (
        lambda f: reconfigured(f, model_type="mine", architectures=["Mine"], auto_map={"AutoConfig": "mine.Mine"}),
        "cannot be|that can",
    ),
    "each token sees all": (lambda f: save_hub_model(f, "BertLMHeadModel"), "holds a BertLMHeadModel, which sees"),
    "too small a vocabulary": (lambda f: save_hub_model(f, GPT2, vocab_size=280), "they do not belong together"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_no_whole_model_is_refused_in_a_sentence(case, folders, tmp_path):
    folder = shutil.copytree(folders[GPT2], tmp_path / "model")
    spoil, sentence = UNFIT[case]
    spoil(folder)
    with pytest.raises(ArtifactError, match=sentence) as refused:
        HubModel(HubModelConfig.of(f"hf:{folder}"))
    assert "\n" not in str(refused.value)


def test_a_model_that_is_not_here_is_not_fetched(tmp_path):
    with pytest.raises(
        ArtifactError, match="there is no folder .*: give the folder of a Hugging Face model, or its name"
    ):
        HubModelConfig.of(f"hf:{tmp_path}/nowhere")
    with pytest.raises(ArtifactError, match="has no model of that name: `hf download somebody/nothing` fetches it"):
        HubModelConfig.of("hf:somebody/nothing")


def test_a_model_in_the_cache_is_found_by_its_name_and_its_commit(folders, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    home, commit = tmp_path / "models--some--thing", "a" * 40
    shutil.copytree(folders[LLAMA], home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs/main").write_text(commit)
    cfg = HubModelConfig.of("hf:some/thing")
    assert (cfg.source, cfg.revision) == ("some/thing", commit)
    save_model(HubModel(cfg), tmp_path / "run")
    (home / "refs/main").write_text("b" * 40)  # a later download does not change what a run refers to
    assert load_model(tmp_path / "run").cfg.revision == commit
    shutil.rmtree(home)
    with pytest.raises(ArtifactError, match=f"`hf download some/thing --revision {commit}` fetches it"):
        load_model(tmp_path / "run")


def test_shards_are_one_model(originals, folders, tmp_path):
    folder = shutil.copytree(folders[LLAMA], tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with quiet():
        originals[LLAMA].save_pretrained(folder, max_shard_size="60KB")
    assert len(HubFolder.find(str(folder)).weight_files()) > 1
    subject = HubModel(HubModelConfig.of(str(folder)))
    near(subject(tokens_of(subject)), originals[LLAMA](tokens_of(subject)).logits)
    HubFolder.find(str(folder)).weight_files()[-1].unlink()
    with pytest.raises(ArtifactError, match="which its index names, is missing"):
        HubModelConfig.of(str(folder))


def test_the_context_is_at_most_what_the_model_sees(folders):
    assert HubModelConfig.of(str(folders[GPT2])).n_ctx == N_CTX
    with pytest.raises(ValueError, match=f"n_ctx is 25: it must be at least 2, and this model can see {N_CTX}"):
        HubModelConfig.of(str(folders[GPT2]), n_ctx=25)


def test_a_corpus_in_the_models_own_tokens_has_the_labels_of_its_characters(subjects, tmp_path):
    subject, texts = subjects[GPT2], write_texts(tmp_path / "texts")
    dataset, report = build_corpus(texts, n_ctx=16, tokenizer=subject.tokenizer, bos=subject.bos)
    assert dataset.bos == subject.bos
    assert (dataset.tokens[:, 0] == subject.bos).all()
    assert set(dataset.doc_table["split"].to_pylist()) == {"train", "test"}
    for doc, name in enumerate(dataset.doc_table["name"].to_pylist()):
        rows = (dataset.docs == doc).nonzero()[:, 0]
        ids = torch.cat([dataset.tokens[row][dataset.mask[row]][1:] for row in rows]).tolist()
        assert subject.tokenizer.decode(ids, skip_special_tokens=False) == (texts / name).read_text("utf8")
    words = [subject.tokenizer.decode([i], skip_special_tokens=False) for i in dataset.tokens[dataset.mask].tolist()]
    labels = dataset.labels.to_pydict()
    lines = (texts / dataset.doc_table["name"][0].as_py()).read_text("utf8").split("\n")
    assert labels["line"][0] is None
    assert {kind for word, kind in zip(words, labels["char_class"], strict=True) if word == " cat"} == {"lower"}
    first = [(word, line) for word, line in zip(words, labels["line"], strict=True) if line is not None][:400]
    assert all(word.strip() in lines[line - 1] for word, line in first if word.isascii() and word.strip())
    assert report.n_labels > 20


def test_opening_is_silent_and_leaves_the_callers_settings(folders):
    code = (
        "import sys, models.saving, workbench.activations, workbench.cli.harvest\n"
        "assert not {'models.hub', 'transformers.models.gpt2.modeling_gpt2'} & set(sys.modules)\n"
        "from models.hub import HubModel, HubModelConfig\n"
        f"model = HubModel(HubModelConfig.of({str(folders[GPT2])!r})); model('The cat')\n"
        "import logging; from transformers.utils import logging as hub\n"
        "assert hub.is_progress_bar_enabled() and logging.root.manager.disable == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
