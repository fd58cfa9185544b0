"""The shape of a `Recurrent`."""

from dataclasses import dataclass
from typing import Any

import torch

from models.cells import CELLS, Cell
from models.cells.mingru import FORMS, Form, MinGRU
from models.config_json import config_from_dict, config_to_dict

GRU_CONVENTIONS = ("pytorch", "textbook")


@dataclass(kw_only=True)
class RecurrentConfig:
    """A stack of recurrent layers over tokens or vectors, with a linear read-out.

    Attributes:
        cell: `rnn`, `lstm`, `gru` or `mingru`.
        n_layers: how many are stacked.
        d_model: width of the token embedding and of the hidden state.
        d_vocab: tokens in; None where the input is vectors.
        d_in: numbers a step where the input is vectors.
        d_out: numbers or classes read out at each step; `d_vocab` where it is not given.
        nonlinearity: of `rnn`: `tanh` or `relu`.
        gru_convention: of `gru`. `pytorch`: the reset gate after the product, the update gate the share that is kept.
            `textbook`: the reset gate before it, the update gate the share that is written.
        mingru_form: of `mingru`: `sequential`, `doubling` or `log`; None for the fastest on the device.
        bidirectional: each layer also runs backward over the sequence, and the two halves are laid side by side.
        n_ctx: the longest sequence it takes; None for any length.
        seed: of the initial weights.
        dtype: of the weights.
        device: of the weights.

    Raises:
        ValueError: the fields contradict each other or name what this architecture does not have.
    """

    cell: str
    n_layers: int = 1
    d_model: int
    d_vocab: int | None = None
    d_in: int | None = None
    d_out: int | None = None
    nonlinearity: str = "tanh"
    gru_convention: str = "pytorch"
    mingru_form: Form | None = None
    bidirectional: bool = False
    n_ctx: int | None = None
    seed: int = 0
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    default_prepend_bos: bool = True
    model_name: str = "recurrent"

    def __post_init__(self) -> None:
        choices: list[tuple[str, tuple]] = [
            ("cell", ("rnn", "lstm", "gru", "mingru")),
            ("nonlinearity", ("tanh", "relu")),
            ("gru_convention", GRU_CONVENTIONS),
            ("mingru_form", (None, *FORMS)),
        ]
        for name, known in choices:
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is unknown: there are {', '.join(map(str, known))}.")
        for name in ("n_layers", "d_model", "d_vocab", "d_in", "d_out", "n_ctx"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1.")
        for name, cell, usual in (
            ("nonlinearity", "rnn", "tanh"),
            ("gru_convention", "gru", "pytorch"),
            ("mingru_form", "mingru", None),
        ):
            if self.cell != cell and getattr(self, name) != usual:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but it is {cell}'s, and the cell is {self.cell}.")
        if (self.d_vocab is None) == (self.d_in is None):
            raise ValueError("give either d_vocab, for tokens, or d_in, for vectors.")
        if self.d_out is None:
            if self.d_vocab is None:
                raise ValueError("give d_out: with vectors going in, nothing else says how many numbers come out.")
            self.d_out = self.d_vocab

    @property
    def cell_name(self) -> str:
        """Which of `models.cells.CELLS` the layers are made of."""
        if self.cell == "rnn" and self.nonlinearity == "relu":
            return "rnn_relu"
        return "gru_textbook" if self.cell == "gru" and self.gru_convention == "textbook" else self.cell

    @property
    def d_hidden_out(self) -> int:
        """Width of what a layer hands up."""
        return self.d_model * (2 if self.bidirectional else 1)

    def make_cell(self, d_in: int) -> Cell:
        """A layer's cell for inputs of a width."""
        if self.cell == "mingru":
            return MinGRU(d_in, self.d_model, self.mingru_form)
        return CELLS[self.cell_name](d_in, self.d_model)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON. `device` is left out: it belongs to a machine, not to a model."""
        return config_to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RecurrentConfig":
        """What `to_dict` gave. `ValueError` if a field is unknown or missing."""
        return config_from_dict(cls, values)
