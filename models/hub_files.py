"""A Hugging Face model on disk: where it is, what its weights are, and how it is opened, without a download."""

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from models.artifacts import ArtifactError, canonical

PREFIX = "hf:"
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class HubFolder:
    """A folder that `save_pretrained` or a download wrote.

    Attributes:
        path: the folder; of a model in the local cache, its snapshot.
        source: what names it: the folder's absolute path, or the model's name on the hub.
        revision: of a model in the cache, the commit; None for a folder of somebody's own.
    """

    path: Path
    source: str
    revision: str | None = None

    @classmethod
    def find(cls, source: str, revision: str | None = None) -> "HubFolder":
        """The folder at a path, or else the model of this name in the local Hugging Face cache; nothing is fetched.

        Raises:
            ArtifactError: there is no such folder, the cache does not have the model, or what is there is no model.
        """
        source = source.removeprefix(PREFIX)
        path = Path(source).expanduser()
        if path.is_dir() and revision is None:
            found = cls(path.absolute(), str(path.absolute()))
        elif revision is None and (path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1):
            raise ArtifactError(f"there is no folder {source}: give the folder of a Hugging Face model, or its name.")
        else:
            found = cls._in_cache(source, revision)
        found.weight_files()
        return found

    @classmethod
    def referred_to(cls, source: str, revision: str | None, digest: str) -> "HubFolder":
        """The folder that a run refers to, if it is still there and holds what it held. `ArtifactError` otherwise."""
        try:
            folder = cls.find(source, revision)
        except ArtifactError as error:
            raise ArtifactError(
                f"this run only refers to the model {source}, which is not there now: {error}"
            ) from None
        if folder.digest() != digest:
            raise ArtifactError(
                f"the config or the weights in {folder.path} are no longer those that this run refers to: "
                "put those back, or make a new run with these."
            )
        return folder

    @classmethod
    def _in_cache(cls, name: str, revision: str | None) -> "HubFolder":
        import huggingface_hub
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            path = Path(huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError):
            wanted = name if revision is None else f"{name} --revision {revision}"
            raise ArtifactError(
                f"there is no folder {name}, and the local Hugging Face cache has no model of that name: "
                f"`hf download {wanted}` fetches it."
            ) from None
        return cls(path, name, path.name)

    def weight_files(self) -> list[Path]:
        """The files that hold the weights: one, or the shards that an index names.

        Raises:
            ArtifactError: a file is missing, or the weights are in another format than safetensors.
        """
        if not (self.path / CONFIG).is_file():
            raise ArtifactError(f"{self.path} is not the folder of a Hugging Face model: it has no {CONFIG}.")
        if (self.path / WEIGHTS).is_file():
            return [self.path / WEIGHTS]
        if (self.path / INDEX).is_file():
            shards = sorted(
                {self.path / name for name in json.loads((self.path / INDEX).read_text())["weight_map"].values()}
            )
            for shard in shards:
                if not shard.is_file():
                    raise ArtifactError(f"{self.path} is not whole: {shard.name}, which its index names, is missing.")
            return shards
        others = sorted(p.name for p in self.path.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".h5"))
        reason = f"it has only {others[0]}, and reading that could run code" if others else "its weights are missing"
        raise ArtifactError(f"{self.path} has no {WEIGHTS}: {reason}; weights are read from safetensors alone.")

    def digest(self) -> str:
        """SHA-256 over the config and the weights, file by file."""
        sums = {}
        for file in (self.path / CONFIG, *self.weight_files()):
            with file.open("rb") as data:
                sums[file.name] = hashlib.file_digest(data, "sha256").hexdigest()
        return hashlib.sha256(canonical(sums).encode()).hexdigest()

    def longest(self) -> int | None:
        """How many positions the model can see; None where its config does not say."""
        from transformers import AutoConfig

        with quiet(), self.refusing("has a config that cannot be read"):
            config = AutoConfig.from_pretrained(self.path, local_files_only=True).get_text_config()
        named = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len"))
        return next((n for n in named if isinstance(n, int) and n > 0), None)

    def tokenizer(self) -> tuple[Tokenizer, int]:
        """The model's tokenizer, and the id that its sequences start with: its BOS, or else (GPT-2's way) its EOS.

        Raises:
            ArtifactError: there is none, it is not a fast one, or it has neither BOS nor EOS.
        """
        from transformers import AutoTokenizer

        with quiet(), self.refusing("has no tokenizer that can be read"):
            wrapped = AutoTokenizer.from_pretrained(self.path, local_files_only=True, trust_remote_code=False)
        if not wrapped.get_vocab().keys() - wrapped.get_added_vocab().keys():
            raise ArtifactError(f"{self.path} has no tokenizer: its tokenizer.json is missing or empty.")
        if not wrapped.is_fast:
            raise ArtifactError(
                f"the tokenizer in {self.path} is not a fast one: only those that have a tokenizer.json can be used."
            )
        bos = wrapped.bos_token_id if wrapped.bos_token_id is not None else wrapped.eos_token_id
        if bos is None:
            raise ArtifactError(
                f"the tokenizer in {self.path} has neither a BOS nor an EOS token, and sequences must start with one: "
                "name one in its tokenizer_config.json."
            )
        tokenizer = wrapped.backend_tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer, int(bos)

    def open_bridge(self, dtype: torch.dtype) -> Any:
        """The model as a `TransformerBridge`, on the CPU and in evaluation mode, with the weights as they are.

        Raises:
            ArtifactError: it is not a decoder-only language model that the bridge knows, or weights are missing.
        """
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
        from transformer_lens.model_bridge.sources.transformers import determine_architecture_from_hf_config
        from transformers import AutoModelForCausalLM

        with quiet(), self.refusing("cannot be opened as a language model"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                self.path,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="eager",  # the only one that has patterns
                dtype=dtype,
                output_loading_info=True,
            )
        model, report = loaded
        if report["missing_keys"] or report["mismatched_keys"]:
            without = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
            raise ArtifactError(f"the weights in {self.path} are not whole: there is no fitting {without[0]}.")
        with quiet(), self.refusing("cannot be opened by TransformerLens's bridge"):
            config = copy.deepcopy(model.config)
            architecture = determine_architecture_from_hf_config(config)
            # Without a tokenizer: with one, the bridge would look on the network for another like it.
            bridge = build_bridge_from_module(
                model.eval(), architecture, hf_config=config, dtype=dtype, model_name=str(self.path)
            )
        return bridge.eval()

    @contextmanager
    def refusing(self, what: str) -> Iterator[None]:
        """Turns what a library raises in the block into one sentence about this folder, an `ArtifactError`."""
        try:
            yield
        except ArtifactError:
            raise
        except Exception as error:  # each library has its own; none says which folder it was
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise ArtifactError(f"{self.path} {what}: {lines[0]}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, warnings or log lines of transformers inside the block; afterwards everything as it was."""
    from transformers.utils import logging as hub_logging

    bars, disabled = hub_logging.is_progress_bar_enabled(), logging.root.manager.disable
    hub_logging.disable_progress_bar()
    logging.disable(max(disabled, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        if bars:
            hub_logging.enable_progress_bar()
