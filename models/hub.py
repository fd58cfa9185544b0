"""`HubModel`: a language model from the Hugging Face hub as a subject, through TransformerLens's bridge."""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.artifacts import ArtifactError
from models.checked_input import checked_tokens
from models.config_json import config_from_dict, config_to_dict
from models.hooks import HookedModel
from models.hub_files import HubFolder, quiet
from models.hub_readout import HubReadOut
from models.lens_contract import TextMethods
from models.loss import mean_loss, token_losses
from models.readout import asked_for

N_CTX = 128
_BY_QUERY = re.compile(r"attn\.hook_(attn_scores|pattern)$")
_WRITTEN = ("source", "revision", "digest", "bos", "n_ctx", "dtype")


@dataclass
class HubModelConfig:
    """A reference to a model on the hub, and what is read of it.

    Attributes:
        source: a folder, or the name of a model in the local Hugging Face cache.
        digest: SHA-256 of its config and weights, as they were when the reference was made.
        bos: the token that sequences start with.
        n_ctx: positions in a sequence, at most.
        revision: of a model in the cache, the commit.
        dtype: the number format that it is run in, whatever it is stored in.
        device: where it is run.
        hub_class: what transformers calls its kind. This and what follows is read where the model is opened.
    """

    source: str
    digest: str
    bos: int
    n_ctx: int
    revision: str | None = None
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    hub_class: str | None = None
    n_layers: int | None = None
    n_heads: int | None = None
    d_model: int | None = None
    d_head: int | None = None
    d_mlp: int | None = None
    d_vocab: int | None = None
    normalization_type: str | None = None
    default_prepend_bos: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The reference as plain JSON."""
        values = config_to_dict(self)
        return {name: values[name] for name in _WRITTEN}

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any]) -> "HubModelConfig":
        """What `to_dict` gave. `ValueError` if a field is unknown or missing."""
        return config_from_dict(cls, config_dict)

    @classmethod
    def of(cls, source: str, n_ctx: int | None = None) -> "HubModelConfig":
        """A reference to the model that is now in a folder (`./gpt2`) or in the cache (`gpt2`), `hf:` before it or not.

        Args:
            n_ctx: positions in a sequence; as many as the model can see, and at most 128, where it is left out.

        Raises:
            ArtifactError: there is no such model here, or it is not whole.
            ValueError: `n_ctx` is more than the model can see.
        """
        folder = HubFolder.find(source)
        longest = folder.longest()
        if n_ctx is None:
            n_ctx = N_CTX if longest is None else min(N_CTX, longest)
        if n_ctx < 2 or (longest is not None and n_ctx > longest):
            sees = "as many as you like" if longest is None else f"{longest:,}"
            raise ValueError(f"n_ctx is {n_ctx}: it must be at least 2, and this model can see {sees}.")
        _, bos = folder.tokenizer()
        return cls(folder.source, folder.digest(), bos, n_ctx, folder.revision)


class HubModel(TextMethods, HookedModel):
    """A decoder-only language model of the hub with TransformerLens's hook names and the weights as they are.

    Activations are those of the model that `transformers` runs: no norm is folded and nothing is centred (see
    `folded`). There is a hook, in the order in which they fire, for every point of the bridge that holds a value for
    each position, under TransformerLens's name for it (`blocks.0.hook_resid_post`, `blocks.0.mlp.hook_post`,
    `blocks.0.attn.hook_pattern`), or the bridge's where that has none (`blocks.0.attn.o.hook_out`).

    Args:
        cfg: the reference; the model must still be there, unchanged.

    Attributes:
        bridge: TransformerLens's `TransformerBridge`.
        folder: where the model lies.
        hook_shapes: of each hook the shape of one position's value (a pattern's last axis is as long as the sequence).

    Raises:
        ArtifactError: it is gone, has changed, or cannot be opened.
    """

    weights_elsewhere = True
    bridge: Any
    folder: HubFolder
    hook_shapes: dict[str, tuple[int, ...]]

    def __init__(self, cfg: HubModelConfig) -> None:
        super().__init__()
        self.folder = folder = HubFolder.referred_to(cfg.source, cfg.revision, cfg.digest)
        bridge = folder.open_bridge(cfg.dtype)
        self.network = bridge.original_model  # the bridge has put its hook points into it
        self.__dict__["bridge"] = bridge  # another way to the same modules
        self.tokenizer, _ = folder.tokenizer()
        self.bos = cfg.bos
        named = ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "normalization_type")
        facts: dict[str, Any] = {name: getattr(bridge.cfg, name, None) for name in named}
        with folder.refusing("has no unembedding that transformers knows"):
            d_vocab = self.network.get_output_embeddings().weight.shape[0]
        self.cfg = dataclasses.replace(cfg, **facts, d_vocab=d_vocab, hub_class=type(self.network).__name__)
        if max(self.bos + 1, self.tokenizer.get_vocab_size()) > d_vocab:
            raise ArtifactError(
                f"the tokenizer in {folder.path} has {self.tokenizer.get_vocab_size():,} tokens and the BOS "
                f"{self.bos:,}, but the model knows only {d_vocab:,} ids: they do not belong together."
            )
        self.setup()
        self.eval()

    def setup(self) -> None:
        """Find the hook points that hold a value for each position, by running two short sequences."""
        names: dict[int, str] = {}
        for name, point in self.bridge.hook_dict.items():
            if id(point) not in names or name != point.name:  # an alias is TransformerLens's own name
                names[id(point)] = name
        points = {id(point): point for point in self.bridge.hook_dict.values()}
        # A length that no axis of heads has, so that positions are not mistaken for heads.
        heads = {self.cfg.n_heads, getattr(self.bridge.cfg, "n_key_value_heads", None)}
        length = next(n for n in (2, 3, 4, 5) if n not in heads)
        tokens = torch.full((2, length), self.bos)
        tokens[1, -1] = self.bos - 1 if self.bos else 1
        found: list[tuple[HookPoint, tuple[int, ...]]] = []
        for point in points.values():
            point.add_hook(lambda value, hook: found.append((hook, tuple(getattr(value, "shape", ())))))
        with torch.inference_mode(), quiet(), self.folder.refusing("cannot be run by TransformerLens's bridge"):
            logits = self.bridge(tokens, use_cache=False)
        for point in points.values():
            point.remove_hooks()
        if not torch.allclose(logits[0, :-1], logits[1, :-1], rtol=1e-3, atol=1e-3):
            raise ArtifactError(f"{self.folder.path} holds a {self.cfg.hub_class}, which sees the tokens that follow.")
        self.hook_dict, self.hook_shapes = {}, {}
        times = [id(point) for point, _ in found]
        for point, shape in found:
            name = names[id(point)]
            axis = 2 if _BY_QUERY.search(name) else 1
            if times.count(id(point)) == 1 and len(shape) > axis + 1 and (shape[0], shape[axis]) == (2, length):
                point.name, point.pos_dim = name, axis
                self.hook_dict[name] = point
                self.hook_shapes[name] = tuple(n for i, n in enumerate(shape) if i not in (0, axis))
        self.mod_dict = dict(self.named_modules()) | self.hook_dict

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Every parameter once: of queries, keys and values that the bridge has split, the parts that it runs."""
        found = dict(super().named_parameters(*args, **kwargs))
        split = {name for name in found if ".qkv." in name and name.replace(".qkv.", ".q.") in found}
        return ((name, value) for name, value in found.items() if name not in split)

    def forward(
        self,
        input: Tensor | str | list[str],
        return_type: str | None = "logits",
        loss_per_token: bool = False,
        stop_at_layer: int | None = None,
        mask: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Any:
        """Run the model.

        Args:
            input: token ids `[batch, pos]` or `[pos]`, which start with BOS, or text, to which BOS is added.
            return_type: `"logits"`: `[batch, pos, d_vocab]`. `"loss"`: mean cross-entropy of the next token, in nats.
                `"both"`: the pair. None: nothing, for those who only want the hooks.
            loss_per_token: the loss as `[batch, pos − 1]`, 0 where the next token is not real; with `targets` as
                `[batch, pos]`, 0 where nothing is asked.
            stop_at_layer: return the residual stream `[batch, pos, d_model]` that enters this block; −1 is the last.
            mask: bool `[batch, pos]`, True where a token is real; padding, at the end of a row, is not attended to.
            targets: ids `[batch, pos]` that take the place of the next tokens in the loss, −100 where nothing is asked.

        Raises:
            ValueError: the input is empty, longer than `n_ctx`, or has ids outside the vocabulary; mask or targets do
                not fit it, or ask nothing; or `return_type` or `stop_at_layer` names nothing.
        """
        n_layers, d_vocab = int(self.cfg.n_layers or 0), int(self.cfg.d_vocab or 0)
        if stop_at_layer is not None and abs(stop_at_layer) > n_layers:
            raise ValueError(f"stop_at_layer is {stop_at_layer}, but this model has {n_layers} layers.")
        tokens, mask = self.read_input(input, mask)
        tokens = checked_tokens(tokens, d_vocab, self.cfg.n_ctx, self.cfg.device)
        asked = asked_for(tokens, mask, targets, None if stop_at_layer is not None else return_type, d_vocab)
        attended = {} if mask is None else {"attention_mask": mask.to(device=tokens.device, dtype=torch.int64)}
        try:
            with self._stopping(stop_at_layer):
                logits = self.bridge(tokens, use_cache=False, **attended)
        except _Stopped as stopped:
            return stopped.resid
        if asked is None:
            return None if return_type is None else logits
        loss = token_losses(logits, asked) if loss_per_token else mean_loss(logits, asked)
        loss = loss[:, :-1] if loss_per_token and targets is None else loss
        return loss if return_type == "loss" else (logits, loss)

    @contextmanager
    def _stopping(self, layer: int | None) -> Iterator[None]:
        """Nothing from this block on is run."""
        if layer is None:
            yield
            return
        n_layers = int(self.cfg.n_layers or 0)
        before = layer % n_layers if layer < n_layers else n_layers
        name = "blocks.0.hook_resid_pre" if before == 0 else f"blocks.{before - 1}.hook_resid_post"

        def stop(tensor: Tensor, *, hook: HookPoint) -> None:
            raise _Stopped(tensor)

        # The residual stream is taken before the first block's hooks and behind those of the block that is left.
        point = self.hook_dict[name]
        handle = point.add_hook(stop, prepend=before == 0)
        try:
            yield
        finally:
            handle.hook.remove()
            point.fwd_hooks = [other for other in point.fwd_hooks if other is not handle]

    def folded(self) -> HubReadOut:
        """What the direct paths to the logits are read off, the last norm's gain folded into the unembedding."""
        return HubReadOut(self.bridge, self.cfg.normalization_type, self.hook_dict, self.tokenizer)


class _Stopped(Exception):
    def __init__(self, resid: Float[Tensor, "batch pos d_model"]) -> None:
        self.resid = resid
