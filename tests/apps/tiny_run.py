"""A tiny but real run, made by the same functions that make a large one."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as tokenizer_models
from tokenizers.trainers import BpeTrainer

from models import (
    Dataset,
    Recurrent,
    RecurrentConfig,
    Seq2Seq,
    Seq2SeqConfig,
    TrainConfig,
    Transformer,
    TransformerConfig,
    train,
)
from models.artifacts import publishing, write_json
from models.hooks import HookedModel
from models.saving import save_model
from models.tasks import Copy, FlipFlop, ModularAddition, Task
from probes import LogisticProbe, MassMeanProbe
from probes.tuning import TuningCurves
from workbench.activations import ActivationStore, harvest
from workbench.cli.dynamics import make_dynamics
from workbench.cli.heads import make_heads
from workbench.cli.patch import make_patching
from workbench.cli.prompt_options import AskedPrompts
from workbench.decoding import Decoding, write_decoding
from workbench.features import build_index
from workbench.probing import probe_sweep
from workbench.reproductions.base import publish_table
from workbench.runs import Run
from workbench.sae import SAEConfig, SAETrainConfig, compare_dictionaries, control_dictionaries, train_sae

HOOK = "blocks.0.mlp.hook_post"
N_CTX = 32
D_SAE = 64
# A name and a text that would do harm if either reached the page as HTML or as Markdown.
WICKED = "<script>window.wicked = 1</script>"


def make_run(path: Path) -> None:
    """Subject, recording, dictionary with its metrics, and index, from a made-up corpus."""
    run = Run.create(path)
    dataset = _corpus()
    model = Transformer(
        TransformerConfig(n_layers=2, d_model=32, n_heads=2, d_mlp=48, n_ctx=N_CTX, d_vocab=dataset.d_vocab)
    )
    model.tokenizer = dataset.tokenizer
    train(model, dataset, TrainConfig(n_steps=60, batch_size=16, warmup_steps=5, eval_every=20), path)
    run = run.refresh()
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    store = harvest(model, dataset, [HOOK], run.path_of("activations", "mlp"), inputs=inputs)
    run = run.refresh()
    recording = run.find("activations")
    cfg = SAEConfig(architecture="topk", d_in=48, d_sae=D_SAE, k=4, hook_name=HOOK)
    inputs = run.inputs(recording, run.find("model"))
    with publishing(run.path_of("sae", "small"), "sae", inputs=inputs, config={"sae": cfg.to_dict()}) as draft:
        batches = store.batches(HOOK, 512, split="train")
        sae = train_sae(cfg, batches, SAETrainConfig(n_tokens=20_000, batch_size=512), out=draft.path)
        write_json(draft.path / "metrics.json", _metrics(sae, store, model, dataset))
    run = run.refresh()
    inputs = run.inputs(recording, run.find("sae"), run.find("model"), run.find("dataset"))
    build_index(sae, store, model, run.path_of("features", "small"), dataset, inputs=inputs)


def make_recurrent_run(path: Path, *, bidirectional: bool = False) -> None:
    """A GRU on the same corpus; one that reads both ways is not trained, for it sees the next token."""
    dataset = _corpus()
    cfg = RecurrentConfig(cell="gru", n_layers=2, d_model=24, d_vocab=dataset.d_vocab, bidirectional=bidirectional)
    model = Recurrent(cfg)
    model.tokenizer = dataset.tokenizer
    Run.create(path)
    if bidirectional:
        dataset.save(path)
        save_model(model, path)
    else:
        train(model, dataset, TrainConfig(n_steps=20, batch_size=16, warmup_steps=5, eval_every=10), path)


def make_task_run(path: Path, *, vectors: bool) -> None:
    """A subject of a task without text: an LSTM on flip-flops, which are vectors, or a transformer on modular sums."""
    task: Task = FlipFlop(n_steps=12) if vectors else ModularAddition(p=11)
    model: HookedModel = (
        Recurrent(RecurrentConfig(cell="lstm", d_model=8, **task.shape))
        if vectors
        else Transformer(TransformerConfig(n_layers=1, d_model=16, n_heads=2, attn_only=True, **task.shape))
    )
    dataset = task.dataset(48, 16)
    config = TrainConfig(n_steps=10, batch_size=16, warmup_steps=2, eval_every=5)
    dataset.save(Run.create(path).path, config={"task": task.to_dict()})
    train(model, dataset, config, path, task=task)


def make_result_run(path: Path) -> None:
    """What a reproduction leaves beside its subjects: tables."""
    rows = {
        "result": ["accuracy", WICKED, "seconds"],
        "published": ["solved", "0.5", ""],
        "ours": ["0.995", "0.25", "12"],
        "bar": ["≥ .99", "> .4", ""],
        "passed": pd.array([True, False, None], "boolean"),
    }
    run = Run.create(path)
    publish_table(run, "result", pd.DataFrame(rows), {"title": "A memory", "paper": f"{WICKED} 2013", "full": False})
    publish_table(run, "spectrum", pd.DataFrame({"component": [1, 2], "explained": [0.9, 0.1]}), {})


def make_probed_run(path: Path, tiny: Path) -> None:
    """The tiny run's subject and two hooks of it, probed by two estimators beside the untrained subject."""
    for part in ("data", "model"):
        shutil.copytree(tiny / part, path / part)
    run = Run.open(path)
    dataset, hooks = run.dataset(), ["blocks.1.hook_resid_post", "hook_embed"]
    untrained = harvest(run.model(step=0), dataset, hooks, path.parent / "untrained-rows")
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    store = harvest(run.model(), dataset, hooks, run.path_of("activations", "two"), inputs=inputs)
    found = probe_sweep(
        store,
        hooks,
        ["is_return", "in_comment"],
        {"logistic": LogisticProbe(), "means": MassMeanProbe()},
        untrained=untrained,
        max_rows=2000,
        where="line >= 0",
    )
    found = found.replace({"label": {"in_comment": WICKED}})
    run = run.refresh()
    inputs = run.inputs(run.find("activations"), run.find("model"), run.find("dataset"))
    config = {"where": "line >= 0"}
    with publishing(run.path_of("probes", "two"), "probes", inputs=inputs, config=config) as draft:
        found.to_parquet(draft.path / "result.parquet", index=False)


def make_dynamics_run(path: Path, flip_flop: Path) -> None:
    """The subject of flip-flops with its fixed points; one of its labels has a name that would do harm."""
    for part in ("data", "model"):
        shutil.copytree(flip_flop / part, path / part)
    made = make_dynamics(Run.open(path), n_starts=24, n_tokens=400)
    for name in ("portrait", "units", "ablation", "gates"):
        table = made.path / f"{name}.parquet"
        found = pd.read_parquet(table).replace({"label": {"bit_0": WICKED}}).rename(columns={"bit_0": WICKED})
        found.to_parquet(table, index=False)


def make_population_run(path: Path, flip_flop: Path) -> None:
    """Scores, estimates and maps as a sweep leaves them: of a place and a heading, by two decoders, at two hooks."""
    for part in ("data", "model"):
        shutil.copytree(flip_flop / part, path / part)
    run = Run.open(path)
    sets = [(("x", "y"), (None, None)), (("heading",), (6.0,))]
    config = {"verb": "decode", "recording": WICKED, "where": None, "dt": 0.1}
    config |= {"variables": [", ".join(names) for names, _ in sets], "circular": {"heading": 6.0}}
    inputs = run.inputs(run.find("dataset"), run.find("model"))
    with publishing(run.path_of("analysis", "decode"), "analysis", inputs=inputs, config=config) as draft:
        write_decoding(Path(draft.path), population(sets, ("blocks.0.rnn.hook_h", "blocks.0.hook_out")))


def make_circuits_run(path: Path, tiny: Path) -> None:
    """The tiny run's subject with its heads surveyed and two prompts patched; one prompt would do harm."""
    for part in ("data", "model"):
        shutil.copytree(tiny / part, path / part)
    make_heads(Run.open(path), n_tokens=600)
    pair = [f"# {WICKED}\ndef make_{i}(self" for i in (1, 2)]
    make_patching(Run.open(path), AskedPrompts(clean=pair[0], corrupt=pair[1], answer=",", wrong=")"))
    make_patching(Run.open(path), AskedPrompts(examples=True, n=6), "by-head", by=["head"], method="ablation")
    make_patching(Run.open(path), AskedPrompts(examples=True, n=6), "whole", by=[])


def make_aligned_run(path: Path) -> None:
    """A recurrent subject that copies a source, with its attention surveyed and examples patched."""
    task = Copy(n_symbols=6, min_length=3, max_length=4)
    cfg = Seq2SeqConfig(cell="gru", d_model=12, attention="luong_dot", **task.shape)
    dataset = task.dataset(32, 16)
    dataset.save(Run.create(path).path, config={"task": task.to_dict()})
    train(Seq2Seq(cfg), dataset, TrainConfig(n_steps=4, batch_size=16, warmup_steps=1, eval_every=2), path, task=task)
    make_heads(Run.open(path), n_tokens=60)
    make_patching(Run.open(path), AskedPrompts(examples=True, n=4))


def population(sets: list, hooks: tuple[str, ...], n_units: int = 14, n_bins: int = 320) -> Decoding:
    """A made-up analysis; one decoder has a name that would do harm, and one place was never visited."""
    rng = np.random.default_rng(0)
    results, decoded, tuning, curves = [], [], [], {}
    for hook in hooks:
        for names, periods in sets:
            title = ", ".join(names)
            for decoder in ("kalman", WICKED):
                for output, period in zip(names, periods, strict=True):
                    about = {"hook": hook, "decoder": decoder, "output": output}
                    for at, variant in enumerate(("decoder", "random subject", "shuffled", "mean")):
                        value = 0.9 - 0.3 * at - 0.1 * rng.random() - (9 if variant == "mean" else 0)
                        line = about | {"variant": variant, "note": f"mind {WICKED}." if at == 2 else ""}
                        for score, of in (("r2", value), ("rho", value / 2), ("error", 1.1 - value)):
                            line |= {score: of, f"{score}_low": of - 0.1, f"{score}_high": of + 0.05}
                        line["measure"] = "rmse" if period is None else "mean absolute"
                        own = variant == "decoder"
                        line |= {name: v if own else np.nan for name, v in _OF_THE_DECODER.items()}
                        results.append(line)
                    true = np.cumsum(rng.normal(size=n_bins))
                    place = {"doc": np.arange(n_bins) // 80, "pos": np.arange(n_bins) % 80}
                    guess = true + rng.normal(size=n_bins) * 0.2
                    if period is not None:
                        true, guess = true % period, guess % period
                    decoded.append(pd.DataFrame(about | place | {"true": true, "decoded": guess, "std": 0.2}))
            scores = {"r2": rng.random(n_units), "r2_p": 0.05, "information": rng.random(n_units) - 0.2}
            tuning.append(pd.DataFrame({"hook": hook, "variables": title, "unit": np.arange(n_units)} | scores))
            edges = tuple(np.linspace(0, period or 2, 7) for period in periods)
            rates = rng.random((n_units, *(len(edge) - 1 for edge in edges))) * 9
            rates[:, 0] = np.nan
            seconds = np.where(np.isnan(rates[0]), 0.0, 3.0)
            curves[hook, title] = TuningCurves(rates, seconds, edges, tuple(periods), 0.1)
    return Decoding(pd.DataFrame(results), pd.concat(decoded), pd.concat(tuning), curves)


_OF_THE_DECODER = {"p_value": 0.02, "coverage": 0.94, "bound": 0.07, "bins": 900.0}


def _metrics(sae, store: ActivationStore, model, dataset: Dataset) -> list[dict]:
    controls = control_dictionaries(sae, lambda: store.batches(HOOK, 256, split="train", epochs=1))
    table = compare_dictionaries(
        {"trained": sae, **controls},
        lambda: store.batches(HOOK, 256, split="test", epochs=1),
        model,
        dataset.split("test"),
    )
    return [{k: None if v != v else v for k, v in row.items()} for row in table.to_dict("records")]


def _corpus(n_documents: int = 40) -> Dataset:
    """Made-up modules of a few functions each; whether a token is `return` or stands in a comment is labelled."""
    texts = {}
    for i in range(n_documents):
        lines = [f"# module {i} {WICKED}", "import os"]
        for j in range(6):
            lines += [f"def make_{j}(self, value):", f"    # adds {i + j}", f"    return self.total + value[{j}]", ""]
        texts[f"part_{i}.py" if i else f"{WICKED}.py"] = "\n".join(lines)
    tokenizer = _tokenizer(list(texts.values()))
    rows, masks, docs, is_return, in_comment, line = [], [], [], [], [], []
    for doc, text in enumerate(texts.values()):
        encoding = tokenizer.encode(text)
        offsets = encoding.offsets
        for start in range(0, len(encoding.ids), N_CTX - 1):
            ids = encoding.ids[start : start + N_CTX - 1]
            pad = N_CTX - 1 - len(ids)
            rows.append([0, *ids, *[0] * pad])
            masks.append([True] * (1 + len(ids)) + [False] * pad)
            docs.append(doc)
            is_return.append(None), in_comment.append(None), line.append(None)
            for at, _ in offsets[start : start + N_CTX - 1]:
                before = text[:at]
                is_return.append(text[at:].lstrip().startswith("return"))
                in_comment.append("#" in before[before.rfind("\n") + 1 :])
                line.append(before.count("\n") + 1)
    labels = {
        "is_return": pa.array(is_return, pa.bool_()),
        "in_comment": pa.array(in_comment, pa.bool_()),
        "line": pa.array(line, pa.int16()),
    }
    splits = ["test" if i % 5 == 0 else "train" for i in range(n_documents)]
    return Dataset(
        torch.tensor(rows),
        torch.tensor(masks),
        torch.tensor(docs),
        pa.table(labels),
        pa.table({"name": list(texts), "split": splits}),
        tokenizer,
    )


def _tokenizer(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, BpeTrainer(vocab_size=340, special_tokens=["<|bos|>"], initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer
