"""A subject on disk: `config.json` and `weights.safetensors` in its run's `model/`."""

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer

from models.artifacts import ArtifactError, Manifest, publishing, write_json
from models.hooks import HookedModel
from models.tensor_files import save_tensors

# An architecture is known by the name that its config.json carries; its module is imported when it is first used.
ARCHITECTURES: dict[str, tuple[str, str]] = {
    "transformer": ("models.transformer", "Transformer"),
    "recurrent": ("models.recurrent", "Recurrent"),
    "seq2seq": ("models.seq2seq", "Seq2Seq"),
    "encoder_decoder": ("models.encoder_decoder", "EncoderDecoderTransformer"),
    "mlp": ("models.mlp", "MLP"),
    "superposition": ("models.toy", "SuperpositionModel"),
    "spiking": ("models.spiking.network", "SpikingNetwork"),
    "tuned": ("models.tuned.population", "TunedPopulation"),
    "hub": ("models.hub", "HubModel"),
}


def save_model(model: HookedModel, run: str | Path, inputs: dict[str, str] | None = None) -> str:
    """Publish `model` as the run's `model/` and return the artifact's id."""
    path = Path(run) / "model"
    with publishing(path, "model", inputs=inputs, config=model_config(model)) as draft:
        write_model(model, draft.path)
    saved_as = Manifest.read(path).id
    model.artifact_id = saved_as
    return saved_as


def load_model(run: str | Path, step: int | None = None) -> HookedModel:
    """The run's subject, in evaluation mode, with its tokenizer where the run has one.

    Args:
        run: the run's folder.
        step: a step of training whose checkpoint was kept; the final weights where it is None.
    """
    path = Path(run) / "model"
    manifest = Manifest.read(path)
    if manifest.kind != "model":
        raise ArtifactError(f"{path} holds {manifest.kind}, not a model.")
    weights = path / "weights.safetensors" if step is None else _checkpoint(path, step)
    model = build_model(_config(path / "config.json"))
    if not model.weights_elsewhere:
        _load_weights(model, weights)
    tokenizer = Path(run) / "data" / "tokenizer.json"
    if tokenizer.exists():
        model.tokenizer = _tokenizer(tokenizer)
    model.artifact_id = manifest.id if step is None else f"{manifest.id}@{step}"
    return model.eval()


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf8"))
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path} is damaged: it is not JSON.") from None
    if not isinstance(config, dict):
        raise ArtifactError(f"{path} is damaged: it is no config of a subject.")
    return config


def _tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise ArtifactError(f"{path} is damaged: it is no tokenizer ({str(error).splitlines()[0]:.100}).") from error


def _load_weights(model: HookedModel, weights: Path) -> None:
    try:
        model.load_state_dict(load_file(weights))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"{weights} does not hold this model's weights: {str(error).splitlines()[0]}") from error


def write_model(model: HookedModel, folder: Path) -> None:
    """Write `config.json` and, unless the weights are kept elsewhere, `weights.safetensors` into a folder."""
    write_json(folder / "config.json", model_config(model))
    if not model.weights_elsewhere:
        save_tensors(model.state_dict(), folder / "weights.safetensors")


def model_config(model: HookedModel) -> dict[str, Any]:
    """The subject's config as plain JSON, with the name of its architecture."""
    return {"architecture": architecture_of(model)} | model.cfg.to_dict()


def architecture_of(model: HookedModel) -> str:
    """The name that a subject's architecture goes by. `ValueError` if it is none of models."""
    kind = (type(model).__module__, type(model).__name__)
    for name, home in ARCHITECTURES.items():
        if home == kind:
            return name
    raise ValueError(f"{type(model).__name__} is no architecture of models: there are {', '.join(ARCHITECTURES)}.")


def build_model(config: dict[str, Any]) -> HookedModel:
    """A fresh subject of the given config.

    Raises:
        ArtifactError: no architecture has that name.
        ValueError: the config contradicts itself, or has fields that the architecture has not.
    """
    values = dict(config)
    name = values.pop("architecture", None)
    if name not in ARCHITECTURES:
        raise ArtifactError(f"no architecture is called {name!r}: there are {', '.join(ARCHITECTURES)}.")
    module, kind = ARCHITECTURES[name]
    home = importlib.import_module(module)
    model_type, config_type = getattr(home, kind), getattr(home, f"{kind}Config")
    return model_type(config_type.from_dict(values))


def fingerprint(model: HookedModel) -> str:
    """What an artifact names as its model: the saved id, or a digest of the weights of one never saved."""
    if model.artifact_id is not None:
        return model.artifact_id
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return f"unsaved-{digest.hexdigest()}"


def checkpoint_steps(run: str | Path) -> list[int]:
    """The steps of training whose weights were kept."""
    found = (Path(run) / "model" / "checkpoints").glob("step-*.safetensors")
    return sorted(int(p.stem.removeprefix("step-")) for p in found)


def _checkpoint(model_path: Path, step: int) -> Path:
    steps = checkpoint_steps(model_path.parent)
    if step not in steps:
        raise ValueError(f"no checkpoint was kept at step {step}: there are {', '.join(map(str, steps)) or 'none'}.")
    return model_path / "checkpoints" / f"step-{step}.safetensors"
