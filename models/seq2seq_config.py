"""The shape of a `Seq2Seq`."""

from dataclasses import dataclass
from typing import Any

import torch

from models.cells.mingru import Form
from models.config_json import config_from_dict, config_to_dict
from models.recurrent_config import RecurrentConfig

ATTENTIONS = ("none", "bahdanau", "luong_dot", "luong_general")


@dataclass(kw_only=True)
class Seq2SeqConfig:
    """A recurrent encoder and a recurrent decoder, with or without attention between them.

    Attributes:
        cell: `rnn`, `lstm`, `gru` or `mingru`, on both sides.
        n_layers: how many are stacked, on each side.
        d_model: width of both embeddings and of a cell's hidden state.
        d_vocab: target tokens, in and out.
        d_vocab_source: source tokens.
        attention: `none`; `bahdanau`, additive and inside the recurrence (arXiv 1409.0473); `luong_dot` or
            `luong_general`, multiplicative and after it (arXiv 1508.04025).
        d_attention: of `bahdanau`: the width in which states are compared; `d_model` where it is not given.
        reverse_source: the encoder reads the source from its last real token to its first (arXiv 1409.3215).
        bidirectional_encoder: each layer of the encoder reads both ways, and the two halves are laid side by side.
        nonlinearity: of `rnn`: `tanh` or `relu`.
        gru_convention: of `gru`: `pytorch` or `textbook`, as in `RecurrentConfig`.
        mingru_form: of `mingru`: `sequential`, `doubling` or `log`; None for the fastest on the device.
        n_ctx: the longest sequence, source or target, that it takes; None for any length.
        seed: of the initial weights.
        dtype: of the weights.
        device: of the weights.

    Raises:
        ValueError: the fields contradict each other or name what this architecture does not have.
    """

    cell: str
    n_layers: int = 1
    d_model: int
    d_vocab: int
    d_vocab_source: int
    attention: str = "none"
    d_attention: int | None = None
    reverse_source: bool = False
    bidirectional_encoder: bool = False
    nonlinearity: str = "tanh"
    gru_convention: str = "pytorch"
    mingru_form: Form | None = None
    n_ctx: int | None = None
    seed: int = 0
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    model_name: str = "seq2seq"

    def __post_init__(self) -> None:
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention {self.attention!r} is unknown: there are {', '.join(ATTENTIONS)}.")
        for name in ("d_vocab", "d_vocab_source", "d_attention"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1.")
        if self.reverse_source and self.bidirectional_encoder:
            raise ValueError("a bidirectional encoder reads both ways already: leave reverse_source out.")
        if self.attention == "luong_dot" and self.bidirectional_encoder:
            raise ValueError(
                "luong_dot multiplies states of one width, but a bidirectional encoder's are twice as wide as the "
                "decoder's: take luong_general."
            )
        self.d_attention = self.d_attention or self.d_model
        # Its own checks are the cells'.
        _ = self.encoder

    @property
    def encoder(self) -> RecurrentConfig:
        """The encoder's layers; the decoder's are the same, read forward."""
        return RecurrentConfig(
            cell=self.cell,
            n_layers=self.n_layers,
            d_model=self.d_model,
            d_vocab=self.d_vocab_source,
            bidirectional=self.bidirectional_encoder,
            nonlinearity=self.nonlinearity,
            gru_convention=self.gru_convention,
            mingru_form=self.mingru_form,
            n_ctx=self.n_ctx,
        )

    @property
    def d_source(self) -> int:
        """Width of what the encoder hands up."""
        return self.encoder.d_hidden_out

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON. `device` is left out: it belongs to a machine, not to a model."""
        return config_to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Seq2SeqConfig":
        """What `to_dict` gave. `ValueError` if a field is unknown or missing."""
        return config_from_dict(cls, values)
