"""sparsify's layout (EleutherAI, 1.3): `cfg.json` beside `sae.safetensors`, in a folder named by the hook.

It has TopK alone, as an SAE and as a transcoder between hooks of one width, the latter with or without a linear skip.
Its folders name modules, not hooks of ours: what is read has no `hook_name`.
"""

from workbench.sae.base import SAE
from workbench.sae.config import SAEConfig
from workbench.sae.exchange.layout import Config, Layout, Tensors, assemble, check_names, field, floats, of_kind, turned

NAMES = ("encoder.weight", "encoder.bias", "W_dec", "b_dec")


def pack(sae: SAE) -> tuple[Config, Tensors]:
    """`cfg.json` and the weights of a TopK SAE or transcoder."""
    cfg = sae.cfg
    if cfg.architecture != "topk":
        raise ValueError(f"sparsify has no {cfg.architecture} SAEs, only topk: save it in another layout.")
    if cfg.kind == "crosscoder":
        raise ValueError("sparsify has no crosscoders: save it in another layout.")
    if cfg.width_out != cfg.d_in:
        raise ValueError(
            f"sparsify's transcoders write rows as wide as those they read, and this one reads {cfg.d_in} and writes "
            f"{cfg.width_out}: save it in another layout."
        )
    config: Config = {
        "activation": "topk",
        "expansion_factor": max(1, cfg.d_sae // cfg.d_in),
        "normalize_decoder": True,
        "num_latents": cfg.d_sae,
        "k": cfg.k,
        "multi_topk": False,
        "skip_connection": cfg.skip,
        "transcode": cfg.kind == "transcoder",
        "d_in": cfg.d_in,
    }
    tensors: Tensors = {
        "encoder.weight": sae.W_enc.T,
        "encoder.bias": sae.b_enc,
        "W_dec": sae.W_dec,
        "b_dec": sae.b_dec,
    }
    if sae.W_skip is not None:
        tensors["W_skip"] = sae.W_skip
    return config, tensors


def unpack(config: Config, tensors: Tensors) -> SAE:
    """The SAE or transcoder that sparsify wrote.

    Files of before version 1.0 name no `activation` and no `transcode`: theirs are TopK SAEs. Raises `ValueError` for
    groupmax, for a TopK of absolute values and for a skip that is not a transcoder's.
    """
    if not config.keys() & {"activation", "transcode"}:
        config = {"activation": "topk", "transcode": False, "skip_connection": False} | config
    activation = field(config, "activation", str)
    if activation != "topk":
        raise ValueError(f"activation {activation!r} is not known here: of sparsify's there is topk")
    if of_kind(config.get("signed", False), "signed", bool):
        raise ValueError("signed is true, and a TopK of absolute values is not known here")
    transcoder, skip = field(config, "transcode", bool), field(config, "skip_connection", bool)
    if skip and not transcoder:
        raise ValueError("skip_connection is true and transcode is not: an SAE with a skip is not known here")
    d_in = field(config, "d_in", int)
    check_names(tensors, (*NAMES, "W_skip") if skip else NAMES)
    dtype, weights = floats(tensors)
    cfg = SAEConfig(
        architecture="topk",
        d_in=d_in,
        d_sae=_latents(config, d_in),
        k=field(config, "k", int),
        dtype=dtype,
        d_out=d_in if transcoder else None,
        skip=skip,
    )
    encoder = {"W_enc": turned(weights.pop("encoder.weight"), "encoder.weight"), "b_enc": weights.pop("encoder.bias")}
    return assemble(cfg, encoder | weights)


def _latents(config: Config, d_in: int) -> int:
    """How many latents there are: zero stands for `d_in` times `expansion_factor`."""
    stated = of_kind(config.get("num_latents") or 0, "num_latents", int)
    return stated or d_in * field(config, "expansion_factor", int)


LAYOUT = Layout("cfg.json", "sae.safetensors", pack, unpack)
