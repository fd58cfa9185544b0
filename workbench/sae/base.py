"""What every sparse autoencoder is: two linear maps around a sparse code, and what training needs of them."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workbench.sae.codes import TopKCodes, decode_sparse
from workbench.sae.config import SAEConfig, SAETrainConfig
from workbench.sae.registry import ARCHITECTURES, architecture_class

AnySAE = TypeVar("AnySAE", bound="SAE")


class TrainingLoss(NamedTuple):
    """What one step of training needs and logs."""

    total: Float[Tensor, ""]
    """What is differentiated."""
    squared_error: Float[Tensor, ""]
    """Mean over rows of ‖x − x̂‖²."""
    terms: dict[str, Tensor]
    """Every further term of the total, detached, under the name it is logged by."""
    codes: TopKCodes
    """The codes of the batch, detached: which latents fired."""


class SAE(nn.Module, ABC):
    """A sparse autoencoder `x̂ = f W_dec + b_dec`, with `f` a sparse function of `(x − b_dec) W_enc + b_enc`.

    A subclass names itself (`class TopK(SAE, architecture="topk")`) and gives the abstract methods: how rows
    are encoded, what is minimised, and what is saved. The decoder bias is subtracted from what is read and
    added to what is written, once each.

    Attributes:
        W_enc: [d_in, d_sae]; stored latent by latent, so that a sparse gradient of it is summed row by row.
        b_enc: [d_sae].
        W_dec: [d_sae, d_in]; its rows have unit length while training, so that an activation is the length of
            what it adds to x̂.
        b_dec: [d_in].
    """

    architecture: ClassVar[str]

    def __init_subclass__(cls, architecture: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.architecture = architecture
        ARCHITECTURES[architecture] = cls

    def __init__(self, cfg: SAEConfig) -> None:
        super().__init__()
        self.cfg = cfg
        directions = torch.randn(
            cfg.d_sae, cfg.d_in, generator=torch.Generator().manual_seed(cfg.seed), dtype=cfg.torch_dtype
        )
        directions /= directions.norm(dim=1, keepdim=True)
        self.W_enc = nn.Parameter(directions.clone().T)
        self.b_enc = nn.Parameter(torch.zeros(cfg.d_sae, dtype=cfg.torch_dtype))
        self.W_dec = nn.Parameter(directions)
        self.b_dec = nn.Parameter(torch.zeros(cfg.d_in, dtype=cfg.torch_dtype))

    @classmethod
    @abstractmethod
    def check_config(cls, cfg: SAEConfig) -> None:
        """Raise `ValueError` with one plain sentence where the config does not fit this architecture."""

    @abstractmethod
    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> TopKCodes:
        """The active latents of each row. Raises `ValueError` where the width does not fit."""

    @abstractmethod
    def training_loss(
        self, x: Float[Tensor, "n d_in"], dead: Bool[Tensor, " d_sae"], variance: float, cfg: SAETrainConfig
    ) -> TrainingLoss:
        """The loss of one batch.

        Args:
            x: the batch, scaled as it is trained on.
            dead: the latents that have not fired for `cfg.dead_after_tokens()` rows.
            variance: E‖x − E x‖², by which every squared error is divided.
            cfg: weights of the terms.
        """

    @abstractmethod
    def saelens_fields(self) -> dict[str, Any]:
        """What `cfg.json` holds for this architecture alone, its name under `architecture` included."""

    @classmethod
    @abstractmethod
    def from_saelens(
        cls, saved: dict[str, Any], weights: dict[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The fields of `SAEConfig` that are this architecture's own, and its weights, from SAELens's.

        Raises `KeyError` or `ValueError` where something is missing or cannot be expressed.
        """

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """The activations of all latents, zeros written out."""
        return self.encode_sparse(x).to_dense(self.cfg.d_sae)

    def decode(self, f: Float[Tensor, "n d_sae"] | TopKCodes) -> Float[Tensor, "n d_in"]:
        """The reconstruction from activations, dense or sparse."""
        if isinstance(f, TopKCodes):
            return decode_sparse(f, self.W_dec) + self.b_dec
        return f @ self.W_dec + self.b_dec

    def forward(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """The reconstruction of x."""
        return self.decode(self.encode_sparse(x))

    def check_width(self, x: Tensor) -> None:
        """Raise `ValueError` unless x is a matrix of rows as wide as this SAE reads."""
        if x.ndim != 2 or x.shape[1] != self.cfg.d_in:
            where = f" ({self.cfg.hook_name})" if self.cfg.hook_name else ""
            raise ValueError(
                f"this SAE reads rows of width {self.cfg.d_in}{where}, but was given an array of shape "
                f"{tuple(x.shape)}."
            )

    @torch.no_grad()
    def constrain_gradients(self) -> None:
        """Take out of W_dec's gradient what would only change the length of a row (Bricken et al., 2023)."""
        if self.W_dec.grad is not None:
            along = torch.linalg.vecdot(self.W_dec.grad, self.W_dec).unsqueeze(1)
            self.W_dec.grad.addcmul_(self.W_dec, along, value=-1)

    @torch.no_grad()
    def constrain_weights(self) -> None:
        """Bring the rows of W_dec back to unit length."""
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))

    @torch.no_grad()
    def fold_input_scale(self, scale: float) -> None:
        """Turn an SAE trained on `scale · x` into the one of x.

        ReLU and the choice of the k largest do not care for a positive factor, so the biases alone take it
        up: activations come out in the units of x, and the rows of W_dec keep their unit length.
        """
        self.b_enc.div_(scale)
        self.b_dec.div_(scale)

    @classmethod
    def from_weights(cls: type[AnySAE], cfg: SAEConfig, weights: dict[str, Tensor]) -> AnySAE:
        """An SAE of given weights, named as its attributes. Raises `ValueError` where one does not fit."""
        sae = cls(cfg)
        wanted = {name: tuple(value.shape) for name, value in sae.named_parameters()}
        found = {name: tuple(value.shape) for name, value in weights.items()}
        if wanted != found:
            raise ValueError(f"these weights are not of such a {cls.architecture} SAE: {_difference(wanted, found)}.")
        sae.load_state_dict(weights)
        return sae


def build_sae(cfg: SAEConfig) -> SAE:
    """A fresh SAE: random unit decoder rows, the encoder their transpose, zero biases."""
    return architecture_class(cfg.architecture)(cfg)


def _difference(wanted: dict[str, tuple], found: dict[str, tuple]) -> str:
    parts = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    parts += [f"{name} is not known" for name in sorted(found.keys() - wanted.keys())]
    parts += [
        f"{name} is {found[name]} where {wanted[name]} is wanted"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]
    return ", ".join(parts)
