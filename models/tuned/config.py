"""The shape of a `TunedPopulation`."""

from dataclasses import dataclass
from typing import Any

import torch

from models.checked_input import whole_number
from models.config_json import config_from_dict, config_to_dict
from models.tuned.fields import Field, Grid, Heading, Linear, Mixed, Place

KINDS = ("place", "grid", "head_direction", "linear", "mixed")
OUTPUTS = ("counts", "rates")


@dataclass(kw_only=True)
class TunedPopulationConfig:
    """Cells of one kind, whose rates are `background + (max_rate − background) · shape`.

    Attributes:
        kind: `place` (Gaussian), `grid` (hexagonal), `head_direction` (von Mises), `linear` (rectified; on a circle
            cosine tuning) or `mixed` (place times head direction).
        n_neurons: how many.
        d_in: numbers a step. Places are read from the first two and head directions, as cosine and sine, from the last
            two, so that x, y, cos, sin suit all kinds; linear cells read all.
        max_rate: of a cell where it is told what it likes best, in Hz.
        background: where it is told nothing that it likes, in Hz.
        side: of the box with the place fields' centres, whose middle is 0, in metres.
        width: σ of a place field, in metres.
        scales: distances between neighbouring peaks of grid cells, in metres; as many modules share the cells evenly.
        concentration: κ of head-direction cells.
        reach: how far along its direction a linear cell is at `max_rate`.
        dt: seconds a step.
        output: `counts` or `rates`.
        d_out: as many numbers as there are cells.
        n_ctx: the longest sequence it takes; None for any length.
        seed: of the cells and of their spikes.
        dtype: of the weights.
        device: of the weights.

    Raises:
        ValueError: the fields contradict each other or name what there is not.
    """

    kind: str
    n_neurons: int
    d_in: int = 4
    max_rate: float = 20.0
    background: float = 0.1
    side: float = 2.2
    width: float = 0.2
    scales: tuple[float, ...] = (0.5,)
    concentration: float = 4.0
    reach: float = 1.0
    dt: float = 0.05
    output: str = "counts"
    d_out: int | None = None
    n_ctx: int | None = None
    seed: int = 0
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    model_name: str = "tuned"

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("output", OUTPUTS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is unknown: there are {', '.join(known)}.")
        whole_number(self.seed, "seed")
        for name in ("n_neurons", "d_in", "n_ctx"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1.")
        least = {"linear": 1, "mixed": 4}.get(self.kind, 2)
        if self.d_in < least:
            raise ValueError(f"d_in is {self.d_in}, but {self.kind} cells read {least} numbers a step at least.")
        for name in ("side", "width", "concentration", "reach", "dt"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0.")
        if not self.scales or not all(scale > 0 for scale in self.scales):
            raise ValueError(f"scales are {self.scales}: there must be one at least, and all above 0.")
        if not 0 <= self.background < self.max_rate:
            raise ValueError(
                f"background is {self.background} Hz and max_rate {self.max_rate} Hz: they must be at least 0, in this "
                "order."
            )
        self.d_out = self.n_neurons if self.d_out is None else self.d_out
        if self.d_out != self.n_neurons:
            raise ValueError(f"d_out is {self.d_out}, but there are {self.n_neurons} cells.")

    def make_field(self) -> Field:
        """What its cells are tuned to."""
        n = self.n_neurons
        made: dict[str, Any] = {
            "place": lambda: Place(n, self.side, self.width),
            "grid": lambda: Grid(n, self.scales),
            "head_direction": lambda: Heading(n, self.concentration),
            "linear": lambda: Linear(n, self.d_in, self.reach),
            "mixed": lambda: Mixed(n, self.side, self.width, self.concentration),
        }
        return made[self.kind]()

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON. `device` is left out: it belongs to a machine, not to a model."""
        return config_to_dict(self) | {"scales": list(self.scales)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TunedPopulationConfig":
        """What `to_dict` gave. `ValueError` if a field is unknown or missing."""
        scales = {"scales": tuple(values["scales"])} if "scales" in values else {}
        return config_from_dict(cls, values | scales)
