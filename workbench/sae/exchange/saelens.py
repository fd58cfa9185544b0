"""SAELens's layout, which is also our own: `cfg.json` beside `sae_weights.safetensors`.

What is written here loads with `SAE.load_from_disk` of SAELens 6 and gives equal outputs there; what was in training
(batchtopk, matryoshka) is there the jumprelu it has become. Our whole config lies in its metadata. A TopK or gated
transcoder has no class there and gets a name that SAELens refuses; a crosscoder is the SAE of its layers side by side.
"""

from dataclasses import MISSING, fields
from typing import Any

from workbench.sae.base import SAE
from workbench.sae.config import SAEConfig
from workbench.sae.exchange.layout import Config, Layout, Tensors, assemble, field, floats, of_kind, text, unit_decoder
from workbench.sae.registry import architecture_class

# The version whose layout this is; SAELens takes a file that names none for one of before version 6.
VERSION = "6.54.0"
# SAELens's classes for finished SAEs, and which of ours they are.
INFERENCE = {
    "standard": "standard",
    "topk": "topk",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "transcoder": "standard",
    "skip_transcoder": "standard",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
DTYPES = ("float32", "float64", "float16", "bfloat16")
# What SAELens does with the rows of a finished SAE beyond what its weights say.
EVERY_ROW = ("layer_norm", "constant_norm_rescale")
WHILE_TRAINING = ("expected_average_only_in", "covariance_whitening")
FIRST_FORMAT = {"architecture", "seed"}


def pack(sae: SAE) -> tuple[Config, Tensors]:
    """`cfg.json` and the weights of an SAE, for SAELens and for us."""
    return saelens_config(sae.cfg), dict(sae.state_dict())


def unpack(config: Config, tensors: Tensors) -> SAE:
    """The SAE of what we or SAELens wrote, its settings that act at run time folded into its weights.

    Files of before SAELens 6 are read by the rules by which SAELens reads them. Rows of a `hook_z` are read flat, as an
    activation store has them. Raises `ValueError` for what cannot be expressed or does not fit together.
    """
    metadata = of_kind(config.get("metadata", {}), "metadata", dict)
    if "workbench" in metadata and set(of_kind(metadata["workbench"], "workbench", dict)) != FIRST_FORMAT:
        cfg = _own_config(config, metadata)
        return assemble(cfg, floats(_as_stated(config, tensors))[1])
    return _theirs(_current(config, metadata), tensors)


def saelens_config(cfg: SAEConfig) -> Config:
    """What `cfg.json` holds: SAELens's fields, and the whole of `cfg` under `metadata.workbench`."""
    own = architecture_class(cfg.architecture).saelens_fields(cfg)
    metadata = {
        "sae_lens_version": VERSION,
        "model_name": cfg.model_name,
        "hook_name": cfg.hook_name,
        "hook_head_index": None,
        "context_size": None,
        "prepend_bos": True,
        "workbench": cfg.to_dict(),
    }
    if cfg.kind == "transcoder":
        plain = {"standard": "", "jumprelu": "jumprelu_"}.get(own["architecture"], own["architecture"] + "_")
        own |= {"architecture": f"{plain}{'skip_' if cfg.skip else ''}transcoder", "d_out": cfg.d_out}
        metadata |= {"hook_name_out": cfg.hook_name_out}
    return {
        "d_in": cfg.width_in,
        "d_sae": cfg.d_sae,
        "dtype": cfg.dtype,
        "device": "cpu",
        "apply_b_dec_to_input": cfg.kind != "transcoder",
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
    } | own


# What we wrote.


def _own_config(config: Config, metadata: Config) -> SAEConfig:
    """Our config, where what stands beside it for SAELens says the same."""
    found = metadata["workbench"]
    known = {entry.name: entry.default for entry in fields(SAEConfig)}
    if unknown := sorted(found.keys() - known.keys()):
        raise ValueError(f"its config has {', '.join(unknown)}, which is not known here")
    if missing := [name for name in ("architecture", "d_in", "d_sae", "dtype") if name not in found]:
        raise ValueError(f"its metadata has no {', '.join(missing)}")
    for name, value in found.items():
        _check_kind(name, value, known[name])
    cfg = SAEConfig(**found)
    told = saelens_config(cfg)
    # Whether and how it was on a device is nobody's business; SAELens adds to the metadata.
    pairs = [(name, config.get(name, ...), value) for name, value in told.items() if name not in ("device", "metadata")]
    pairs += [(name, metadata.get(name, ...), told["metadata"][name]) for name in ("hook_name", "model_name")]
    if other := sorted(name for name, there, here in pairs if there != here):
        raise ValueError(f"its config contradicts itself in {', '.join(other)}")
    return cfg


def _check_kind(name: str, value: Any, default: Any) -> None:
    """Raise `ValueError` unless a value from JSON is what a field of `SAEConfig` with this default holds."""
    if isinstance(default, tuple):
        for entry in of_kind(value, name, list):
            of_kind(entry, name, str if name == "hook_names" else int)
    elif value is not None or default is not None:
        of_kind(value, name, int if default in (None, MISSING) else type(default))


# What SAELens wrote.


def _current(config: Config, metadata: Config) -> Config:
    """The config as SAELens 6 would have written it (its `handle_pre_6_0_config`)."""
    version = config.get("sae_lens_version") or metadata.get("sae_lens_version")
    if version is not None:
        major = of_kind(version, "sae_lens_version", str).split(".")[0]
        if not major.isdecimal():
            raise ValueError(f"sae_lens_version {version!r} is not a version")
        if int(major) >= 6:
            return config
    kwargs = of_kind(config.get("activation_fn_kwargs") or {}, "activation_fn_kwargs", dict)
    activation = config.get("activation_fn_str", config.get("activation_fn", "relu"))
    if activation not in ("relu", "topk"):
        raise ValueError(f"activation_fn {activation!r} is not known here: there are relu and topk")
    normalized = config.get("normalize_activations")
    if isinstance(normalized, bool):
        normalized = "expected_average_only_in" if normalized else "none"
    current: Config = {name: config[name] for name in ("d_in", "d_sae", "dtype", "d_out") if name in config}
    current["architecture"] = "topk" if activation == "topk" else config.get("architecture", "standard")
    if current["architecture"] == "topk":
        current |= {"k": kwargs["k"]} if "k" in kwargs else {}
    return current | {
        "apply_b_dec_to_input": config.get("apply_b_dec_to_input", True),
        "normalize_activations": normalized or "none",
        "finetuning_scaling_factor": config.get("finetuning_scaling_factor", False),
        "metadata": {
            "hook_name": config.get("hook_name", config.get("hook_point")),
            "model_name": config.get("model_name"),
        },
    }


def _theirs(config: Config, tensors: Tensors) -> SAE:
    """An SAE of SAELens's, from a config as version 6 writes it."""
    name = field(config, "architecture", str)
    if name not in INFERENCE:
        raise ValueError(
            f"its architecture {name!r} is not known here: of SAELens's finished ones there are {', '.join(INFERENCE)}"
        )
    transcoder, kind = "transcoder" in name, INFERENCE[name]
    _refuse_what_cannot_be_folded(config, transcoder, kind)
    metadata = of_kind(config.get("metadata", {}), "metadata", dict)
    dtype, weights = floats(_as_stated(config, tensors))
    cfg = SAEConfig(
        architecture=kind,
        d_in=field(config, "d_in", int),
        d_sae=field(config, "d_sae", int),
        k=field(config, "k", int) if kind == "topk" else None,
        hook_name=text(metadata, "hook_name"),
        model_name=text(metadata, "model_name"),
        dtype=dtype,
        d_out=field(config, "d_out", int) if transcoder else None,
        hook_name_out=text(metadata, "hook_name_out") if transcoder else "",
        skip="skip" in name,
    )
    if kind == "jumprelu" and "threshold" in weights:
        weights["threshold"] = weights["threshold"].clamp(min=0)  # they take the ReLU as well
    sae = assemble(cfg, weights)
    if not transcoder and not config["apply_b_dec_to_input"]:
        sae.shift_encoder(sae.b_dec @ sae.W_enc)
    if of_kind(config.get("rescale_acts_by_decoder_norm", False), "rescale_acts_by_decoder_norm", bool):
        unit_decoder(sae)
    return sae


def _refuse_what_cannot_be_folded(config: Config, transcoder: bool, kind: str) -> None:
    centred = field(config, "apply_b_dec_to_input", bool)
    if transcoder and centred:
        raise ValueError("apply_b_dec_to_input is true, but a transcoder's decoder bias is not of what it reads")
    normalized = field(config, "normalize_activations", str)
    if normalized in EVERY_ROW:
        raise ValueError(
            f"normalize_activations {normalized!r} scales every row by itself, which no weights can do: "
            "only 'none' is read"
        )
    if normalized in WHILE_TRAINING:
        raise ValueError(
            f"normalize_activations {normalized!r} is not folded in, as SAELens does at the end of a training: "
            "only 'none' is read"
        )
    if normalized != "none":
        raise ValueError(f"normalize_activations {normalized!r} is not known here: only 'none' is read")
    reshaped = config.get("reshape_activations", "none")
    if reshaped not in ("none", "hook_z"):
        raise ValueError(f"reshape_activations {reshaped!r} is not known here: there are 'none' and 'hook_z'")
    if config.get("finetuning_scaling_factor"):
        raise ValueError("finetuning_scaling_factor is true, and such an SAE is not known here")
    others = ([] if transcoder else ["d_out"]) + ([] if kind == "topk" else ["k", "rescale_acts_by_decoder_norm"])
    if foreign := [name for name in others if name in config]:
        raise ValueError(f"its config has {', '.join(foreign)}, which a {config['architecture']} SAE has not")


def _as_stated(config: Config, tensors: Tensors) -> Tensors:
    """The weights, all of which have the number format that the config states."""
    dtype = field(config, "dtype", str).removeprefix("torch.")
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not known here: there are {', '.join(DTYPES)}")
    # Some versions wrote one more, which does nothing.
    scaling = tensors.get("scaling_factor")
    if scaling is not None and bool((scaling == 1).all()):
        tensors = {name: value for name, value in tensors.items() if name != "scaling_factor"}
    types = sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()})
    if types != [dtype]:
        raise ValueError(f"its weights are {', '.join(types)} where its config says {dtype}")
    return tensors


LAYOUT = Layout("cfg.json", "sae_weights.safetensors", pack, unpack)
