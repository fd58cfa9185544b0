"""`SuperpositionModel`: more features than dimensions, and one matrix to carry them through."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.checked_input import checked_vectors
from models.config_json import config_from_dict, config_to_dict
from models.hooks import HookedModel
from models.readout import asked_for

__all__ = ["SuperpositionModel", "SuperpositionModelConfig"]


@dataclass(kw_only=True)
class SuperpositionModelConfig:
    """The toy model of superposition (Elhage et al. 2022, arXiv 2209.10652).

    Attributes:
        d_in: features, n in the paper.
        d_model: hidden dimensions, m in the paper.
        d_out: as many as `d_in`, what goes in being given back.
        importance_decay: the squared error of feature i, counted from 0, weighs decayⁱ.
        linear: leave the ReLU out; the model then learns the most important principal components.
        n_ctx: the longest sequence it takes; None for any length.
        seed: of the initial weights.
        dtype: of the weights.
        device: of the weights.

    Raises:
        ValueError: the fields contradict each other.
    """

    d_in: int
    d_model: int
    d_out: int | None = None
    importance_decay: float = 1.0
    linear: bool = False
    n_ctx: int | None = None
    seed: int = 0
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    model_name: str = "superposition"

    def __post_init__(self) -> None:
        for name in ("d_in", "d_model", "n_ctx"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1.")
        if not 0 < self.importance_decay <= 1:
            raise ValueError(f"importance_decay is {self.importance_decay}: it must be above 0 and at most 1.")
        self.d_out = self.d_in if self.d_out is None else self.d_out
        if self.d_out != self.d_in:
            raise ValueError(f"d_out is {self.d_out}, but the {self.d_in} features that go in are to be given back.")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON. `device` is left out: it belongs to a machine, not to a model."""
        return config_to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SuperpositionModelConfig":
        """What `to_dict` gave. `ValueError` if a field is unknown or missing."""
        return config_from_dict(cls, values)


class SuperpositionModel(HookedModel):
    """`x′ = ReLU(Wᵀ W x + b)`, `W [d_model, d_in]`, `b [d_in]`: feature i is carried along column `W[:, i]`.

    Hooks: `hook_hidden [batch, pos, d_model]`, which is Wx, and `hook_out [batch, pos, d_in]`, which is x′. Every
    position is taken by itself.
    """

    importance: Float[Tensor, " d_in"]

    def __init__(self, cfg: SuperpositionModelConfig) -> None:
        super().__init__()
        self.cfg = cfg = dataclasses.replace(cfg)
        self.W = nn.Parameter(torch.empty(cfg.d_model, cfg.d_in))
        self.b = nn.Parameter(torch.empty(cfg.d_in))
        self.register_buffer("importance", cfg.importance_decay ** torch.arange(cfg.d_in), persistent=False)
        self.hook_hidden, self.hook_out = HookPoint(), HookPoint()
        self.init_weights(cfg.seed)
        self.to(device=cfg.device, dtype=cfg.dtype)
        self.setup()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """W normal as Glorot and Bengio (2010) scale it, b zero: the paper's."""
        nn.init.xavier_normal_(self.W, generator=generator)
        nn.init.zeros_(self.b)

    def forward(
        self,
        input: Tensor,
        return_type: str | None = "logits",
        loss_per_token: bool = False,
        mask: Bool[Tensor, "batch pos"] | None = None,
        targets: Tensor | None = None,
    ) -> Any:
        """Run the model.

        Args:
            input: features `[batch, pos, d_in]`.
            return_type: `"logits"`: x′, `[batch, pos, d_in]`. `"loss"`: Σ_i decayⁱ (x_i − x′_i)², summed over features
                and averaged over real positions. `"both"`: the pair. None: nothing, for those who only want the hooks.
            loss_per_token: the loss as `[batch, pos]`, 0 at padding.
            mask: True where a position is real.
            targets: what should come out; the input where it is None.

        Raises:
            ValueError: the input is empty, too long, not of `d_in` numbers, NaN or infinite; mask or targets do not
                fit it.
        """
        cfg = self.cfg
        x = checked_vectors(input, cfg.d_in, cfg.n_ctx, cfg.device, cfg.dtype)
        asked = asked_for(x, mask, x if targets is None else targets, return_type, cfg.d_in)
        out = torch.nn.functional.linear(self.hook_hidden(x @ self.W.T), self.W.T, self.b)
        out = self.hook_out(out if cfg.linear else out.relu())
        if return_type is None:
            return None
        if asked is None:
            return out
        real = ~asked.isnan().any(-1)
        error = (out - asked.nan_to_num()).square() @ self.importance * real
        loss = error if loss_per_token else error.sum() / real.sum()
        return loss if return_type == "loss" else (out, loss)

    @torch.no_grad()
    def feature_norms(self) -> Float[Tensor, " d_in"]:
        """‖W_i‖ of each feature: near 1 where it is carried, 0 where it is not."""
        return self.W.norm(dim=0)

    @torch.no_grad()
    def dimensionality(self) -> Float[Tensor, " d_in"]:
        """`D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)²`: the share of a dimension that each feature has, 0 where it is not carried.

        1 is a dimension of its own, ½ an antipodal pair, ⅔ a triangle, ⅖ a pentagon (Elhage et al. 2022).
        """
        norms = self.feature_norms()
        overlap = ((self.W / norms).T @ self.W).square().sum(1)
        return torch.where(norms > 0, norms.square() / overlap, 0.0)

    @torch.no_grad()
    def dimensions_per_feature(self) -> Float[Tensor, ""]:
        """`D* = m / ‖W‖²_F`: dimensions for each feature that is carried (Elhage et al. 2022)."""
        return self.cfg.d_model / self.W.square().sum()
