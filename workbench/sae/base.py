"""What every sparse autoencoder is: two linear maps around a sparse code, and what training needs of them."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workbench.sae.codes import Codes, CSRCodes, TopKCodes
from workbench.sae.config import PRODUCTS, SAEConfig, SAETrainConfig
from workbench.sae.encoding import encode_topk
from workbench.sae.reconstruction import ReconstructionError, decode_sparse, reconstruction_error
from workbench.sae.registry import ARCHITECTURES, architecture_class

AnySAE = TypeVar("AnySAE", bound="SAE")

# What a sparse start is measured on, and how many latents at a time.
START_ROWS, START_LATENTS = 2048, 4096
# How many times as many latents as are asked for are active at the start: the search then only has to climb.
START_TIMES = 4


class TrainingStep(NamedTuple):
    """What a loss depends on besides the rows."""

    dead: Bool[Tensor, " d_sae"]
    """The latents that have not fired for `cfg.dead_after_tokens()` rows."""
    variance: float
    """E‖y − E y‖², by which every loss is divided."""
    sparsity: float
    """The coefficient of the sparsity term at this step."""
    cfg: SAETrainConfig

    @property
    def product(self) -> torch.dtype | None:
        """The number format of the encoder's product; None for the weights' own."""
        return PRODUCTS[self.cfg.product]


class Activated(NamedTuple):
    """The codes of a batch while training, and what they cost."""

    codes: Codes
    """Differentiable in the encoder's weights."""
    penalties: dict[str, Float[Tensor, ""]]
    """What is minimised besides the error: means over rows, each with its coefficient, under its name in the log."""


class TrainingLoss(NamedTuple):
    """What one step of training needs and logs."""

    total: Float[Tensor, ""]
    """What is differentiated."""
    squared_error: Float[Tensor, ""]
    """Mean over rows of ‖y − ŷ‖²."""
    terms: dict[str, Tensor]
    """Every further term of the total, detached, under the name it is logged by."""
    codes: Codes
    """The codes of the batch, detached: which latents fired."""


class SAE(nn.Module, ABC):
    """A sparse autoencoder `ŷ = f W_dec + b_dec`, with `f` a sparse function of `(x − b_in) W_enc + b_enc`.

    A subclass names itself (`class TopK(SAE, architecture="topk")`) and gives the abstract methods: how rows
    are encoded, how they are while training and what that costs, and what is saved.

    An SAE and a crosscoder subtract the decoder bias from what they read and add it to what they write, once each. A
    transcoder adds it only; what it reads is centred while training, and the centre folded into `b_enc` at the end. A
    crosscoder is the SAE of its layers side by side.

    Attributes:
        W_enc: [width_in, d_sae]; stored latent by latent, so that a sparse gradient of it is summed row by row.
        b_enc: [d_sae].
        W_dec: [d_sae, width_out]; in a finished SAE its rows have unit length, so that an activation is the length
            of what it adds to ŷ.
        b_dec: [width_out].
        W_skip: [d_out, d_in], for a transcoder with `skip`; ŷ has `x W_skipᵀ` added. None otherwise.
    """

    W_skip: nn.Parameter | None
    b_enc: nn.Parameter
    centre: Tensor | None
    architecture: ClassVar[str]
    unit_decoder: ClassVar[bool] = True
    """Whether the rows of W_dec have unit length at every step, or only at the end."""
    sparsity: ClassVar[float | None] = None
    """The sparsity coefficient where none is given; None where there is no sparsity term."""
    latents_compete: ClassVar[bool] = False
    """Whether which latents are active hangs on how they compare: a factor must then be the same for all."""
    starts_sparse: ClassVar[bool] = False
    """Whether the first code has to be made sparse by the biases."""
    revival: ClassVar[str] = "aux"
    """What is done for dead latents where nothing is asked."""

    def __init_subclass__(cls, architecture: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.architecture = architecture
        ARCHITECTURES[architecture] = cls

    def __init__(self, cfg: SAEConfig) -> None:
        super().__init__()
        self.cfg = cfg
        generator = torch.Generator().manual_seed(cfg.seed)
        written = _directions(cfg.d_sae, cfg.width_out, cfg.torch_dtype, generator)
        read = written.clone()
        if cfg.kind == "transcoder":
            read = _directions(cfg.d_sae, cfg.width_in, cfg.torch_dtype, generator)
        self.W_enc = nn.Parameter(read.T)
        self.W_dec = nn.Parameter(written)
        self.b_dec = nn.Parameter(torch.zeros(cfg.width_out, dtype=cfg.torch_dtype))
        skip = nn.Parameter(torch.zeros(cfg.width_out, cfg.d_in, dtype=cfg.torch_dtype)) if cfg.skip else None
        self.register_parameter("W_skip", skip)
        centre = torch.zeros(cfg.width_in, dtype=cfg.torch_dtype) if cfg.kind == "transcoder" else None
        self.register_buffer("centre", centre, persistent=False)
        self.add_encoder_biases()

    def add_encoder_biases(self) -> None:
        """Make `b_enc`, or what an architecture has in its place."""
        self.b_enc = nn.Parameter(torch.zeros(self.cfg.d_sae, dtype=self.cfg.torch_dtype))

    # What an architecture gives.

    @classmethod
    @abstractmethod
    def check_config(cls, cfg: SAEConfig) -> None:
        """Raise `ValueError` with one plain sentence where the config does not fit this architecture."""

    @abstractmethod
    def encode_rows(self, x: Float[Tensor, "n width_in"]) -> Codes:
        """The active latents of each row."""

    @abstractmethod
    def chosen(self, pre: Float[Tensor, "n d_sae"]) -> Codes:
        """What `encode_rows` makes of rows whose `pre_activations` are there already; it has no gradient."""

    @abstractmethod
    def activate(
        self, x: Float[Tensor, "n width_in"], y: Float[Tensor, "n width_out"], step: TrainingStep
    ) -> Activated:
        """The codes of a batch while training, and its sparsity penalties."""

    @classmethod
    @abstractmethod
    def saelens_fields(cls, cfg: SAEConfig) -> dict[str, Any]:
        """What `cfg.json` holds for this architecture alone, its name under `architecture` included."""

    # What everybody uses.

    @property
    def b_in(self) -> Float[Tensor, " width_in"]:
        """What is subtracted from the rows that are read."""
        return self.b_dec if self.centre is None else self.centre

    @property
    def encoder_bias(self) -> Float[Tensor, " d_sae"]:
        """What is added to `(x − b_in) W_enc` before anything is chosen."""
        return self.b_enc

    def pre_activations(
        self, x: Float[Tensor, "n width_in"], out: Float[Tensor, "n d_sae"] | None = None
    ) -> Float[Tensor, "n d_sae"]:
        """`(x − b_in) W_enc` plus the bias, of all latents, active or not."""
        return torch.addmm(self.encoder_bias, x.to(self.W_enc.dtype) - self.b_in, self.W_enc, out=out)

    def encode_sparse(self, x: Float[Tensor, "n d_in"] | Float[Tensor, "n layer d_in"]) -> Codes:
        """The active latents of each row. Raises `ValueError` where the width does not fit."""
        return self.encode_rows(self.flat(x).to(self.W_enc.dtype))

    def encode(self, x: Float[Tensor, "n d_in"] | Float[Tensor, "n layer d_in"]) -> Float[Tensor, "n d_sae"]:
        """The activations of all latents, zeros written out."""
        return self.encode_sparse(x).to_dense(self.cfg.d_sae)

    def decode(self, f: Float[Tensor, "n d_sae"] | Codes) -> Float[Tensor, "n d_out"] | Float[Tensor, "n layer d_in"]:
        """The reconstruction from activations, dense or sparse; without a transcoder's `x W_skipᵀ`."""
        return self.unflat(self.decode_rows(f))

    def decode_rows(self, f: Float[Tensor, "n d_sae"] | Codes) -> Float[Tensor, "n width_out"]:
        """The same, a crosscoder's layers side by side."""
        rows = decode_sparse(f, self.W_dec) if isinstance(f, TopKCodes | CSRCodes) else f @ self.W_dec
        return rows + self.b_dec

    def forward(
        self, x: Float[Tensor, "n d_in"] | Float[Tensor, "n layer d_in"]
    ) -> Float[Tensor, "n d_out"] | Float[Tensor, "n layer d_in"]:
        """The reconstruction of x, or what a transcoder makes of it."""
        return self.decode_of(x, self.encode_sparse(x))

    def decode_of(self, x: Tensor, codes: Codes) -> Tensor:
        """The reconstruction from the codes of x, with a transcoder's `x W_skipᵀ`."""
        found = self.decode(codes)
        return found if self.W_skip is None else found + x.to(found.dtype) @ self.W_skip.T

    def flat(self, x: Tensor) -> Float[Tensor, "n width_in"]:
        """Rows as the encoder reads them. Raises `ValueError` where they are not as wide as this SAE reads."""
        wanted = (self.cfg.d_in,) if self.cfg.n_layers is None else (self.cfg.n_layers, self.cfg.d_in)
        if x.ndim == 0 or tuple(x.shape[1:]) != wanted:
            where = f" ({self.cfg.hook_name})" if self.cfg.hook_name else ""
            what = f"rows of width {wanted[0]}" if len(wanted) == 1 else f"rows of {wanted[0]} layers of {wanted[1]}"
            raise ValueError(f"this SAE reads {what}{where}, but was given an array of shape {tuple(x.shape)}.")
        return x.flatten(1)

    def unflat(self, rows: Float[Tensor, "n width_out"]) -> Tensor:
        """Rows as they are outside: a crosscoder's by layer."""
        return rows if self.cfg.n_layers is None else rows.unflatten(1, (self.cfg.n_layers, self.cfg.d_in))

    def decoder_norms(self) -> Float[Tensor, " d_sae"]:
        """The length of each latent's direction; of a crosscoder's, the sum over layers (Lindsey et al., 2024)."""
        if self.cfg.n_layers is None:
            return self.W_dec.norm(dim=1)
        return self.W_dec.unflatten(1, (self.cfg.n_layers, self.cfg.d_in)).norm(dim=2).sum(1)

    # Training.

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What Adam moves, and how many times the learning rate each group is given."""
        return [{"params": list(self.parameters()), "times": 1.0}]

    @torch.no_grad()
    def begin(
        self,
        cfg: SAETrainConfig,
        x: Float[Tensor, "n width_in"],
        centre_in: Float[Tensor, " width_in"],
        centre_out: Float[Tensor, " width_out"],
    ) -> None:
        """Set out from a first sample of scaled rows: its centre, and, without a k, a sparse code.

        Random latents without a k are active on half of all rows, and their sum is many times too long. Each is made
        to fire on the same share of the sample (as Anthropic's "January 2025 update" does), so that as many are active
        in a row as it has dimensions, or four times as many as are asked for; and, but for transcoders, all are given
        the one factor with which the reconstruction has the least squared error.
        """
        self.b_dec.copy_(centre_out)
        if self.centre is not None:
            self.centre.copy_(centre_in)
        if not self.starts_sparse:
            return
        centred = x[:START_ROWS] - self.b_in
        active = self.cfg.width_in if cfg.target_l0 is None else START_TIMES * cfg.target_l0
        share = min(0.5, active / self.cfg.d_sae)
        for latents in torch.arange(self.cfg.d_sae, device=x.device).split(START_LATENTS):
            pre = centred @ self.W_enc[:, latents]
            self.encoder_bias[latents] = -torch.quantile(pre, 1 - share, dim=0)
        self.align_paths()
        rebuilt = self.decode_rows(self.encode_rows(x[:START_ROWS])) - self.b_dec
        if self.centre is None:
            self.scale_latents(((centred * rebuilt).sum() / rebuilt.square().sum()).expand(self.cfg.d_sae))

    def align_paths(self) -> None:
        """Let whatever else reads the encoder set out as `encoder_bias` does: nothing, but for gated."""

    @torch.no_grad()
    def restart_latents(self, latents: Int[Tensor, " chosen"], cfg: SAETrainConfig) -> list[Tensor]:
        """Give latents that start anew the first value of all that decides when they fire, and say what that is."""
        self.encoder_bias[latents] = 0
        return [self.encoder_bias]

    def training_loss(
        self, x: Float[Tensor, "n width_in"], y: Float[Tensor, "n width_out"], step: TrainingStep
    ) -> TrainingLoss:
        """The loss of one batch.

        Args:
            x: what is read, scaled.
            y: what is to be rebuilt, scaled; x itself but for a transcoder.
            step: what else it depends on.
        """
        codes, penalties = self.activate(x, y, step)
        error = self.reconstruct(x, y, codes)
        terms = dict(penalties)
        if (step.cfg.revive or self.revival) == "aux":
            aux = self.auxiliary_loss(x, error.residual, step.dead, step.cfg.aux_latents(self.cfg.width_out))
            terms["aux"] = step.cfg.aux_coefficient * aux
        n = len(x)
        total = error.total / n
        for term in terms.values():
            total = total + term
        return TrainingLoss(
            total=total / step.variance,
            squared_error=error.squared / n,
            terms={name: term.detach() / step.variance for name, term in terms.items()},
            codes=codes.detach(),
        )

    def reconstruct(
        self, x: Float[Tensor, "n width_in"], y: Float[Tensor, "n width_out"], codes: Codes
    ) -> ReconstructionError:
        """How far the reconstruction from these codes is from y."""
        target = y if self.W_skip is None else y - x @ self.W_skip.T
        return reconstruction_error(target, codes, self.W_dec, self.b_dec)

    def nested(self, codes: Codes) -> list[Codes]:
        """The codes that must each do by themselves; these alone, but for nested dictionaries."""
        return [codes]

    def auxiliary_loss(
        self,
        x: Float[Tensor, "n width_in"],
        residual: Float[Tensor, "n width_out"],
        dead: Bool[Tensor, " d_sae"],
        k: int,
    ) -> Float[Tensor, ""]:
        """How badly the k most active dead latents explain what the living left over; zero without dead ones.

        The residual carries no gradient, and b_dec neither helps to explain it nor learns from it: it has its
        place in the main loss. With fewer than k dead latents the loss shrinks in proportion. (Gao et al., 2024,
        A.2.)
        """
        latents = dead.nonzero().squeeze(1)
        if len(latents) == 0:
            return residual.new_zeros(())
        active = min(k, len(latents))
        codes = encode_topk(x, self.W_enc[:, latents], self.encoder_bias[latents], self.b_in.detach(), active)
        no_bias = residual.new_zeros(residual.shape[1])
        error = reconstruction_error(residual, codes, self.W_dec[latents], no_bias)
        return (active / k) * error.total / len(x)

    @torch.no_grad()
    def constrain_gradients(self) -> None:
        """Take out of W_dec's gradient what would only change the length of a row (Bricken et al., 2023)."""
        if self.unit_decoder and self.W_dec.grad is not None:
            along = torch.linalg.vecdot(self.W_dec.grad, self.W_dec).unsqueeze(1)
            self.W_dec.grad.addcmul_(self.W_dec, along, value=-1)

    @torch.no_grad()
    def constrain_weights(self) -> None:
        """Bring the weights back to where they may be: the rows of W_dec to unit length, where they have it."""
        if self.unit_decoder:
            self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))

    # The end of training: everything that was done to the rows goes into the weights.

    @torch.no_grad()
    def fold_scale(self, scale_in: Tensor, scale_out: Tensor) -> None:
        """Turn an SAE from `scale_in · x` to `scale_out · y` into the one from x to y.

        A factor is one number or one for each column. The rows of W_dec end with unit length, and so activations in
        the units of y; where latents compete and the factors of columns differ, with a mean length of one.
        """
        if self.centre is not None:
            self.shift_encoder(-(self.centre @ self.W_enc))
            self.centre.zero_()
        self.W_enc.mul_(scale_in.reshape(-1, 1))
        self.W_dec.div_(scale_out)
        self.b_dec.div_(scale_out)
        if self.W_skip is not None:
            self.W_skip.mul_(scale_in).div_(scale_out.reshape(-1, 1))
        norms = self.W_dec.norm(dim=1).clamp_min(torch.finfo(self.W_dec.dtype).tiny)
        if self.latents_compete:
            norms = norms.mean().expand_as(norms)
        self.W_dec.div_(norms.unsqueeze(1))
        self.scale_latents(norms)

    @torch.no_grad()
    def shift_encoder(self, shift: Float[Tensor, " d_sae"]) -> None:
        """Add to what the encoder makes of a row of zeros."""
        self.b_enc.add_(shift)

    @torch.no_grad()
    def scale_latents(self, factor: Float[Tensor, " d_sae"]) -> None:
        """Multiply every latent's activation by a positive factor of its own."""
        self.W_enc.mul_(factor)
        self.b_enc.mul_(factor)

    @classmethod
    def from_weights(cls: type[AnySAE], cfg: SAEConfig, weights: dict[str, Tensor]) -> AnySAE:
        """An SAE of given weights, named as its attributes. Raises `ValueError` where one does not fit."""
        sae = cls(cfg)
        wanted = {name: tuple(value.shape) for name, value in sae.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in weights.items()}
        if wanted != found:
            raise ValueError(f"these weights are not of such a {cls.architecture} SAE: {_difference(wanted, found)}.")
        sae.load_state_dict(weights)
        return sae


def build_sae(cfg: SAEConfig) -> SAE:
    """A fresh SAE: random unit decoder rows, the encoder their transpose (a transcoder's its own), zero biases."""
    return architecture_class(cfg.architecture)(cfg)


def _directions(n: int, d: int, dtype: torch.dtype, generator: torch.Generator) -> Float[Tensor, "n d"]:
    directions = torch.randn(n, d, generator=generator, dtype=dtype)
    return directions / directions.norm(dim=1, keepdim=True)


def _difference(wanted: dict[str, tuple], found: dict[str, tuple]) -> str:
    parts = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    parts += [f"{name} is not known" for name in sorted(found.keys() - wanted.keys())]
    parts += [
        f"{name} is {found[name]} where {wanted[name]} is wanted"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]
    return ", ".join(parts)
