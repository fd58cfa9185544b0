"""A run around a model of the Hugging Face hub: its data, in the model's own tokens, and a reference to the model."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from models.artifacts import ArtifactError
from workbench.cli.standing import standing
from workbench.cli.train import describe_data
from workbench.runs import Artifact, Run

if TYPE_CHECKING:
    from models.hub import HubModelConfig


def make_hub_run(
    path: Path,
    source: str,
    corpus: Path | None = None,
    n_ctx: int | None = None,
    *,
    replace: bool = False,
    tell: Callable[[str], None],
) -> Run:
    """The run whose subject is a hub model: the one that is there, or one made now, by the first of several processes.

    Args:
        path: the run's folder.
        source: `hf:` and a folder, or the name of a model in the local Hugging Face cache.
        corpus: a text file, a folder, JSONL or Parquet; the Python standard library's own source where it is left out.
        n_ctx: positions in a sequence; the model's, and at most 128, where it is left out.

    Raises:
        ArtifactError: the model is not there or cannot be used, or the run holds another subject or other data.
        ValueError: the text is unfit, or `n_ctx` too long.
    """
    if not source.startswith("hf:"):
        raise ValueError(f"--model is {source!r}: it must be hf: and a folder or a name, such as hf:./gpt2 or hf:gpt2.")
    from models import ranks

    ranks.join()
    if not ranks.is_first():
        if (refusal := ranks.told_by_first(None)) is not None:
            raise ranks.RefusedByFirst(refusal)
        return Run.open(path)
    try:
        run = _make(path, source, corpus, n_ctx, replace, tell)
    except (ValueError, OSError) as error:
        ranks.told_by_first(str(error))
        raise
    ranks.told_by_first(None)
    return run


def _make(
    path: Path, source: str, corpus: Path | None, n_ctx: int | None, replace: bool, tell: Callable[[str], None]
) -> Run:
    from models.hub import HubModel, HubModelConfig
    from models.saving import save_model

    cfg = HubModelConfig.of(source, n_ctx)
    run = Run.create(path)
    _check_not_trained(run, replace)
    _check_unchanged(run, cfg, replace)
    there = standing(run, "model", "model", {}, {"architecture": "hub"} | cfg.to_dict(), replace=replace)
    subject = None if there else HubModel(cfg)  # opened before anything is written
    data = _make_data(run, cfg, corpus, replace=replace)
    if subject is not None:
        save_model(subject, run.path)
    tell(f"{cfg.source}, by reference, in sequences of {cfg.n_ctx}; {describe_data(data)}")
    return run.refresh()


def _check_not_trained(run: Run, replace: bool) -> None:
    trained = [a.path for a in run.artifacts() if a.kind == "model" and a.manifest.config.get("architecture") != "hub"]
    if trained and not replace:
        raise ArtifactError(f"{trained[0]} holds a subject that was trained: choose another --run, or add --replace.")


def _check_unchanged(run: Run, cfg: "HubModelConfig", replace: bool) -> None:
    """Other settings are `standing`'s matter; other weights under the same name are said here, not as two digests."""
    there = next((a.manifest.config for a in run.artifacts() if a.kind == "model"), {})
    if there.get("source") == cfg.source and there.get("digest") != cfg.digest and not replace:
        raise ArtifactError(
            f"the config or the weights of {cfg.source} are no longer those that {run.path} refers to: put those back, "
            "choose another --run, or add --replace."
        )


def _make_data(run: Run, cfg: "HubModelConfig", corpus: Path | None, *, replace: bool) -> Artifact:
    from models.corpus.build import build_corpus
    from models.hub_files import HubFolder

    tokenizer, bos = HubFolder.find(cfg.source, cfg.revision).tokenizer()
    config = {
        "corpus": "the Python standard library" if corpus is None else str(corpus.absolute()),
        "tokenizer": hashlib.sha256(tokenizer.to_str().encode()).hexdigest(),
        "n_ctx": cfg.n_ctx,
    }
    if standing(run, "dataset", "data", {}, config, replace=replace) is None:
        dataset, report = build_corpus(corpus, n_ctx=cfg.n_ctx, tokenizer=tokenizer, bos=bos, to_train=False)
        made_of = {k: v for k, v in asdict(report).items() if k != "seconds"}  # times would change the id
        dataset.save(run.path, config=config | {"report": made_of})
    return run.refresh().find("dataset")
