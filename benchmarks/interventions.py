"""Activation patching, beside TransformerLens's own sweeps of the same weights.

    python -m benchmarks interventions [--quick]

Of a pair of sequences every layer × position (× head) of the corrupt run is patched from the clean one: the residual
stream, what attention and the MLP write, each head at a position and at all of them. TransformerLens's
`patching.get_act_patch_*` are given our model; both normalise the same logit difference, in turn, and must agree. A
metric that may be of the whole output, which is then made whole, has rows of its own, and so has memory, by
`batch_size`.
"""

import argparse
import resource
import subprocess
import sys
from typing import Any

import torch
from transformer_lens import patching

from benchmarks.bars import row, show
from benchmarks.turns import take_turns
from models.transformer import Transformer, TransformerConfig
from workbench.interventions.metrics import LogitDifference
from workbench.interventions.patching import activation_patching

LAYERS, POSITIONS, BAR, BAR_SAME = 4, 64, 3.0, 1e-5
SWEEPS = {
    "residual stream": ("hook_resid_pre", ("position",), patching.get_act_patch_resid_pre),
    "attention's output": ("hook_attn_out", ("position",), patching.get_act_patch_attn_out),
    "the MLP's output": ("hook_mlp_out", ("position",), patching.get_act_patch_mlp_out),
    "heads, by position": ("attn.hook_z", ("position", "head"), patching.get_act_patch_attn_head_out_by_pos),
    "heads, all positions": ("attn.hook_z", ("head",), patching.get_act_patch_attn_head_out_all_pos),
}
ANSWER, WRONG = 5, 9
MEMORY_SIZES = (8, 64)
PAIRS = 64


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    rows = [entry for name in SWEEPS for entry in _sweep(name, 1 if quick else 3)]
    small, large = (_peak_mb(size) for size in MEMORY_SIZES)
    what = f"patching: {PAIRS} pairs, memory beyond the start"
    rows += [
        row(f"{what}, {size} sequences a pass", mb, "MB") for size, mb in zip(MEMORY_SIZES, (small, large), strict=True)
    ]
    show(rows)
    return rows


def _subject(n_pairs: int) -> tuple[Transformer, torch.Tensor, torch.Tensor, LogitDifference]:
    """A subject, clean and corrupt sequences, and what is measured after their last token."""
    cfg = TransformerConfig(n_layers=LAYERS, d_model=128, n_heads=4, n_ctx=POSITIONS, d_vocab=1024)
    generator = torch.Generator().manual_seed(0)
    clean, corrupt = (torch.randint(1, cfg.d_vocab, (n_pairs, POSITIONS), generator=generator) for _ in range(2))
    clean[:, 0] = corrupt[:, 0] = 0
    ids = (torch.full((n_pairs,), number) for number in (ANSWER, WRONG, POSITIONS - 1))
    return Transformer(cfg).eval(), clean, corrupt, LogitDifference(*ids)


@torch.inference_mode()
def _sweep(name: str, rounds: int) -> list[dict[str, Any]]:
    hook, by, theirs = SWEEPS[name]
    model, clean, corrupt, metric = _subject(1)

    def difference(logits: torch.Tensor) -> torch.Tensor:
        return logits[:, -1, ANSWER] - logits[:, -1, WRONG]

    ends = [float(difference(model(tokens))) for tokens in (clean, corrupt)]
    _, cache = model.run_with_cache(clean)

    def normalised(logits: torch.Tensor) -> torch.Tensor:
        return (difference(logits).mean() - ends[1]) / (ends[0] - ends[1])

    def ours(of_ours: Any) -> torch.Tensor:
        hooks = [f"blocks.{layer}.{hook}" for layer in range(LAYERS)]
        found = activation_patching(model, clean, corrupt, of_ours, hooks, by=by, n_controls=0, bos=True)
        return torch.tensor(found["effect"].to_numpy())

    ours(metric)
    (slow, truth), (fast, found), (whole, opaque) = take_turns(
        rounds, lambda: theirs(model, corrupt, cache, normalised), lambda: ours(metric), lambda: ours(difference)
    )
    apart = max(float((x - truth.flatten()).abs().max()) for x in (found, opaque))
    return [
        row(f"patching: {name}, TransformerLens", slow, "s"),
        row(f"patching: {name}", fast, "s", slow / fast, BAR),
        row(f"patching: {name}, a metric of the whole output", whole, "s", slow / whole),
        row(f"patching: {name}, distance of the normalised effects", apart, "", bar=BAR_SAME, at_most=True),
    ]


def _peak_mb(batch_size: int) -> float:
    """How much a sweep over many pairs takes, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.interventions", "--memory", str(batch_size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _memory(batch_size: int) -> None:
    torch.set_num_threads(1)
    model, clean, corrupt, metric = _subject(PAIRS)
    hooks = [f"blocks.{layer}.hook_resid_pre" for layer in range(LAYERS)]
    places = {"positions": [POSITIONS // 2, POSITIONS - 2], "n_controls": 0}
    activation_patching(model, clean[:1], corrupt[:1], metric, hooks, batch_size=1, **places)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    activation_patching(model, clean, corrupt, metric, hooks, batch_size=batch_size, **places)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", type=int)
    args = parser.parse_args()
    if args.memory is None:
        main(args.quick)
    else:
        _memory(args.memory)
