"""`FixedPoints`: what a search found, with the modes of each point; as a table, and on disk."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Complex, Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.artifacts import ArtifactError
from models.tensor_files import save_tensors
from workbench.dynamics.spectra import frequencies, non_normality, time_constants

# A mode that grows or decays by less than this a step does neither.
MARGIN = 1e-6
ARRAYS, TABLE = "arrays.safetensors", "result.parquet"
COMPLEX = ("eigenvalues", "right", "left")
STABLE, MARGINAL, SADDLE, UNSTABLE, SLOW = KINDS = ("stable", "marginal", "saddle", "unstable", "slow")


@dataclass(frozen=True)
class FixedPoints:
    """Fixed and slow points of a state map, the slowest first.

    Attributes:
        states: where they are.
        speeds: q = ½‖x − F(x)‖² there.
        jacobians: ∂F/∂state there.
        eigenvalues: of these, the largest |λ| first.
        right: their right vectors, columns of length 1.
        left: their left vectors, rows: `left @ right` is the identity, or NaN where there is no full set.
        starts: where the search began.
        led_to: which point each start led to, −1 for none. It is the search that led there, not the dynamics.
        n_lost: starts that led to no point as slow as asked for.
        n_far: starts that led to one too far away, which was dropped.
        size: root mean square of the starts' distances from their mean: what lengths are measured in.
        tolerance: q of a fixed point, at most; what is faster is a slow point.
        input: what was read at every step.
        parts: which numbers of a state are which hook's.
    """

    states: Float[Tensor, "points d"]
    speeds: Float[Tensor, " points"]
    jacobians: Float[Tensor, "points d d"]
    eigenvalues: Complex[Tensor, "points d"]
    right: Complex[Tensor, "points d d"]
    left: Complex[Tensor, "points d d"]
    starts: Float[Tensor, "starts d"]
    led_to: Int[Tensor, " starts"]
    n_lost: int
    n_far: int
    size: float
    tolerance: float
    input: Float[Tensor, " d_in"] | None = None
    parts: dict[str, slice] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.states)

    @cached_property
    def n_unstable(self) -> Int[np.ndarray, " points"]:
        """How many modes of each point grow: |λ| > 1."""
        return (self.eigenvalues.abs() > 1 + MARGIN).sum(1).numpy()

    @cached_property
    def is_slow(self) -> Bool[np.ndarray, " points"]:
        """Which points still move."""
        return (self.speeds > self.tolerance).numpy()

    @cached_property
    def stable(self) -> Bool[np.ndarray, " points"]:
        """Which are fixed points of which every mode decays."""
        return ((self.eigenvalues.abs() < 1 - MARGIN).all(1)).numpy() & ~self.is_slow

    @cached_property
    def kind(self) -> list[str]:
        """`stable`, `marginal` (no mode grows, but one stays), `saddle`, `unstable` (every mode grows), or `slow`."""
        d = self.states.shape[1]
        kinds = np.where(self.stable, STABLE, MARGINAL).astype(object)
        kinds[self.n_unstable > 0] = SADDLE
        kinds[self.n_unstable == d] = UNSTABLE
        kinds[self.is_slow] = SLOW
        return [str(kind) for kind in kinds]

    @cached_property
    def basin(self) -> Int[np.ndarray, " points"]:
        """How many starts the search led to each point."""
        return np.bincount(self.led_to[self.led_to >= 0].numpy(), minlength=len(self))

    def select(self, points: Int[np.ndarray, " some"] | Bool[np.ndarray, " points"]) -> "FixedPoints":
        """Some of the points; starts that led to others led to none."""
        chosen = np.arange(len(self))[points]
        place = torch.full((len(self) + 1,), -1, dtype=torch.int64)
        place[torch.from_numpy(chosen)] = torch.arange(len(chosen))
        names = ("states", "speeds", "jacobians", "eigenvalues", "right", "left")
        some = {name: getattr(self, name)[torch.from_numpy(chosen)] for name in names}
        return FixedPoints(**{**vars_of(self), **some, "led_to": place[self.led_to]})

    def table(self) -> pd.DataFrame:
        """One row a point: `point`, `kind`, `q`, `n_unstable`, `basin`, and of its slowest mode `modulus` |λ|, `angle`,
        `time_constant` (steps) and `frequency` (cycles a step); `second_modulus`; `non_normality`; `distance` from the
        starts' mean, in their size.
        """
        values = self.eigenvalues.numpy()
        moduli = np.abs(values)
        away = (self.states - self.starts.mean(0)).norm(dim=1).numpy() / self.size
        return pd.DataFrame(
            {
                "point": np.arange(len(self)),
                "kind": self.kind,
                "q": self.speeds.numpy(),
                "n_unstable": self.n_unstable,
                "basin": self.basin,
                "modulus": moduli[:, 0],
                "angle": np.angle(values[:, 0]),
                "time_constant": time_constants(values)[:, 0],
                "frequency": frequencies(values)[:, 0],
                "second_modulus": moduli[:, 1] if values.shape[1] > 1 else np.full(len(self), np.nan),
                "non_normality": non_normality(self.jacobians),
                "distance": away,
            }
        )

    def save(self, folder: str | Path) -> None:
        """Write `result.parquet` (the table) and `arrays.safetensors` into a folder.

        Of complex arrays the last axis holds the real and the imaginary part.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.table().to_parquet(folder / TABLE, index=False)
        tensors = {name: value for name, value in vars_of(self).items() if isinstance(value, Tensor)}
        # The format has no complex numbers: a last axis holds their two parts.
        tensors |= {name: torch.view_as_real(tensors[name].contiguous()) for name in COMPLEX}
        parts = {name: [part.start, part.stop] for name, part in self.parts.items()}
        facts = {name: getattr(self, name) for name in ("n_lost", "n_far", "size", "tolerance")} | {"parts": parts}
        save_tensors(tensors, folder / ARRAYS, {"facts": json.dumps(facts)})

    @classmethod
    def load(cls, folder: str | Path) -> "FixedPoints":
        """What `save` wrote. Raises `ArtifactError` where that is not there, or damaged."""
        path = Path(folder) / ARRAYS
        if not path.exists():
            raise ArtifactError(f"{folder} holds no fixed points: it has no {ARRAYS}.")
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tensors |= {name: torch.view_as_complex(tensors[name]) for name in COMPLEX}
            facts["parts"] = {name: slice(*ends) for name, ends in facts["parts"].items()}
            return cls(**tensors, **facts)
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ArtifactError(f"{path} is damaged: it holds no fixed points that can be read.") from error


def vars_of(points: FixedPoints) -> dict:
    """The fields, without what was derived from them."""
    return {name: getattr(points, name) for name in FixedPoints.__dataclass_fields__}
