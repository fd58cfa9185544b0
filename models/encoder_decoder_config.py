"""The shape of an `EncoderDecoderTransformer`."""

from dataclasses import dataclass
from typing import Any

from models.config_json import config_from_dict
from models.transformer_config import TransformerConfig

POSITIONS = ("sinusoidal", "standard")


@dataclass(kw_only=True)
class EncoderDecoderTransformerConfig(TransformerConfig):
    """An encoder and a decoder of equal depth and width (Vaswani et al. 2017).

    What is not named here is as in `TransformerConfig`.

    Attributes:
        n_layers: blocks of the encoder, and of the decoder.
        d_vocab: target tokens, in and out.
        d_vocab_source: source tokens.
        n_ctx: the longest sequence, source or target, that it takes.
        pre_norm: normalise what a layer reads, as GPT-2 does, and what encoder and decoder hand on; otherwise the sum
            of what it read and wrote, as in the paper.
        positional_embedding_type: `sinusoidal` (fixed) or `standard` (learned).

    Raises:
        ValueError: the fields contradict each other or name what this architecture does not have.
    """

    d_vocab_source: int
    pre_norm: bool = False
    positional_embedding_type: str = "sinusoidal"
    act_fn: str = "relu"

    def __post_init__(self) -> None:
        if self.d_vocab_source < 1:
            raise ValueError(f"d_vocab_source is {self.d_vocab_source}: it must be at least 1.")
        if self.positional_embedding_type not in POSITIONS:
            raise ValueError(
                f"positional_embedding_type {self.positional_embedding_type!r} is none of an encoder–decoder's: "
                f"there are {', '.join(POSITIONS)}."
            )
        if self.attn_only:
            raise ValueError("attn_only is True: an encoder–decoder's blocks have MLPs.")
        super().__post_init__()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any]) -> "EncoderDecoderTransformerConfig":
        """What `to_dict` gave.

        Raises:
            ValueError: a field is unknown or missing.
        """
        return config_from_dict(cls, config_dict)
