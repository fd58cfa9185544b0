"""Training speed of `Transformer`, beside plain PyTorch and TransformerLens's own model of the same shape.

All three start from the same weights, take the same batches and use the same optimiser, in one process, one step of
each in turn; the figures are medians over the steps.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge.sources.native import boot

from models.transformer import Transformer, TransformerConfig

SHAPE = {"n_layers": 2, "d_model": 128, "n_heads": 4, "d_mlp": 512, "n_ctx": 128, "d_vocab": 2048}
BATCH = 32
BARS = {"plain PyTorch": 0.95, "TransformerLens 4 native": 1.4}


class PlainBlock(nn.Module):
    """A pre-norm block as one writes it for speed."""

    def __init__(self, d_model: int, n_heads: int, d_mlp: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ln1, self.ln2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, d_mlp), nn.Linear(d_mlp, d_model)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.ln1(x)).unflatten(-1, (3, self.n_heads, -1)).transpose(1, 3)
        q, k, v = heads.unbind(2)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(z.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class PlainTransformer(nn.Module):
    """The same network without hooks, in PyTorch's own layers."""

    def __init__(self, n_layers: int, d_model: int, n_heads: int, d_mlp: int, n_ctx: int, d_vocab: int) -> None:
        super().__init__()
        self.embed, self.pos = nn.Embedding(d_vocab, d_model), nn.Embedding(n_ctx, d_model)
        self.blocks = nn.ModuleList(PlainBlock(d_model, n_heads, d_mlp) for _ in range(n_layers))
        self.ln, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, d_vocab)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.embed(tokens) + self.pos.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.ln(x)).flatten(0, 1), targets.flatten())


@torch.no_grad()
def copy_to_plain(ours: Transformer, plain: PlainTransformer) -> None:
    """Give the plain model our weights."""

    def linear(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
        layer.weight.copy_(weight.T)
        layer.bias.copy_(bias)

    plain.embed.weight.copy_(ours.W_E)
    plain.pos.weight.copy_(ours.W_pos)
    for block, target in zip(ours.blocks, plain.blocks, strict=True):
        attn = block.attn
        reads = [w.transpose(0, 1).flatten(1) for w in (attn.W_Q, attn.W_K, attn.W_V)]
        linear(target.qkv, torch.cat(reads, 1), torch.cat([attn.b_Q, attn.b_K, attn.b_V]).flatten())
        linear(target.out, attn.W_O.flatten(0, 1), attn.b_O)
        linear(target.up, block.mlp.W_in, block.mlp.b_in)
        linear(target.down, block.mlp.W_out, block.mlp.b_out)
    linear(plain.head, ours.W_U, ours.b_U)


@torch.no_grad()
def native_like(ours: Transformer) -> nn.Module:
    """TransformerLens's native model with our weights. It has no unembedding bias."""
    shape = {name: getattr(ours.cfg, name) for name in SHAPE}
    native = boot(TransformerBridgeConfig(**shape, d_head=ours.cfg.d_head, act_fn="gelu", normalization_type="LN"))
    state = native.state_dict()
    state["embed.weight"].copy_(ours.W_E)
    state["pos_embed.weight"].copy_(ours.W_pos)
    state["unembed.weight"].copy_(ours.W_U.T)
    for layer, block in enumerate(ours.blocks):
        attn, prefix = block.attn, f"blocks.{layer}"
        for name, weight in (("q", attn.W_Q), ("k", attn.W_K), ("v", attn.W_V)):
            state[f"{prefix}.attn.{name}.weight"].copy_(weight.transpose(1, 2).flatten(0, 1))
        state[f"{prefix}.attn.o.weight"].copy_(attn.W_O.flatten(0, 1).T)
        state[f"{prefix}.mlp.in.weight"].copy_(block.mlp.W_in.T)
        state[f"{prefix}.mlp.out.weight"].copy_(block.mlp.W_out.T)
    return native


def batches(n: int) -> list[Tensor]:
    """Batches `[BATCH, n_ctx]` of Zipf-distributed tokens."""
    generator = torch.Generator().manual_seed(0)
    frequencies = 1 / torch.arange(1, SHAPE["d_vocab"] + 1)
    size = BATCH * SHAPE["n_ctx"]
    draw = [torch.multinomial(frequencies, size, replacement=True, generator=generator) for _ in range(n)]
    return [tokens.view(BATCH, -1) for tokens in draw]


def steps(losses: dict[str, Callable[[Tensor], Tensor]], models: dict[str, nn.Module], n: int) -> dict[str, list]:
    """Train every model for `n` steps, taking turns: `(seconds, loss)` of each step by model."""
    optimisers = {k: torch.optim.AdamW(m.parameters(), lr=1e-3, fused=True) for k, m in models.items()}
    record: dict[str, list] = {name: [] for name in models}
    names = list(losses)
    for i, tokens in enumerate(batches(n)):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.perf_counter()
            loss = losses[name](tokens)
            loss.backward()
            optimisers[name].step()
            optimisers[name].zero_grad(set_to_none=True)
            record[name].append((time.perf_counter() - start, loss.item()))
    return record


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    torch.set_num_threads(2)
    ours = Transformer(TransformerConfig(**SHAPE))
    plain = PlainTransformer(**SHAPE)
    copy_to_plain(ours, plain)
    native = native_like(ours)
    models = {"models.Transformer": ours, "plain PyTorch": plain, "TransformerLens 4 native": native}
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "models.Transformer": lambda tokens: ours(tokens, return_type="loss"),
        # The targets are made for it, without the copy of the logits that shifting them would cost.
        "plain PyTorch": lambda tokens: plain(tokens, F.pad(tokens[:, 1:], (0, 1), value=-100)),
        "TransformerLens 4 native": lambda tokens: native(tokens, return_type="loss"),
    }
    warm_up = 3
    record = steps(losses, models, warm_up + (10 if quick else 40))
    rows = _rows(record, warm_up)
    _print(rows, record)
    return rows


def _rows(record: dict[str, list], warm_up: int) -> list[dict[str, Any]]:
    seconds = {name: statistics.median(s for s, _ in rows[warm_up:]) for name, rows in record.items()}
    tokens = BATCH * SHAPE["n_ctx"]
    rows = []
    for name, median in seconds.items():
        bar = BARS.get(name)
        ratio = median / seconds["models.Transformer"]
        rows.append(
            {
                "name": f"training: {name}",
                "value": tokens / median,
                "unit": "tokens/s",
                "ratio": None if bar is None else ratio,
                "bar": bar,
                "passed": None if bar is None else ratio >= bar,
            }
        )
    return rows


def _print(rows: list[dict[str, Any]], record: dict[str, list]) -> None:
    first = {name: values[0][1] for name, values in record.items()}
    last = {name: values[-1][1] for name, values in record.items()}
    reference = next(iter(first))
    print(
        f"{'training, ' + str(BATCH) + '×' + str(SHAPE['n_ctx']):<36}{'tokens/s':>10}{'ours / it':>11}{'bar':>7}",
        end="",
    )
    print(f"{'Δ first loss':>14}{'Δ last loss':>13}")
    for row, name in zip(rows, record, strict=True):
        versus = "" if row["bar"] is None else f"{row['ratio']:.2f} ×"
        bar = "" if row["bar"] is None else f"{row['bar']:.2f}"
        apart = (first[name] - first[reference], last[name] - last[reference])
        print(f"{name:<36}{row['value']:>10,.0f}{versus:>11}{bar:>7}{apart[0]:>14.1e}{apart[1]:>13.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
