"""Activation patching, beside TransformerLens's own sweeps of the same weights.

    python -m benchmarks interventions [--quick]

Of a pair of sequences every layer × position (× head) of the corrupt run is patched from the clean one: the residual
stream, what attention and the MLP write, each head at a position and at all of them. TransformerLens's
`patching.get_act_patch_*` are given our model; both normalise the same logit difference, in turn, and must agree: as
each rounds in float32, how far each is from TransformerLens's sweep in double stands beside it. A metric that may be of
the whole output, which is then made whole, has rows of its own. Memory grows with `batch_size`,
and not with the number of patches. Attribution patching is counted in passes, and `head_scores` stands beside a
forward pass.
"""

import argparse
import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformer_lens import patching

from benchmarks.bars import row, show
from benchmarks.interventions_heads import head_scores_bar
from benchmarks.turns import take_turns
from models.transformer import Transformer, TransformerConfig
from workbench.interventions.attribution import attribution_patching
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
PAIRS = 64
SIZES, FEW, MANY = (8, 64), 2, 32  # sequences a pass, and positions that are patched, the first and the last the same
BAR_MANY, BAR_PASSES = 1.5, 3
EVERYTHING = ("hook_resid_pre", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z", "hook_attn_out")
EVERYTHING += ("hook_resid_mid", "mlp.hook_pre", "mlp.hook_post", "hook_mlp_out", "hook_resid_post")


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Measure, print the table and return its rows: name, value, unit, ratio, bar, passed."""
    rows = [entry for name in SWEEPS for entry in _sweep(name, 1 if quick else 3)]
    rows += [*_memory_rows(), *_attribution_rows(), *head_scores_bar(quick)]
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
    hook, by, _ = SWEEPS[name]
    model, clean, corrupt, metric = _subject(1)

    def ours(of_ours: Any) -> torch.Tensor:
        hooks = [f"blocks.{layer}.{hook}" for layer in range(LAYERS)]
        found = activation_patching(model, clean, corrupt, of_ours, hooks, by=by, n_controls=0, bos=True)
        return torch.tensor(found["effect"].to_numpy())

    ours(metric)
    (slow, truth), (fast, found), (whole, opaque) = take_turns(
        rounds, _theirs(name, model, clean, corrupt), lambda: ours(metric), lambda: ours(_difference)
    )
    exact = _theirs(name, copy.deepcopy(model).double(), clean, corrupt)()
    apart, off, theirs_off = (
        max(float((x - of.flatten()).abs().max()) for x in some)
        for some, of in (((found, opaque), truth), ((found, opaque), exact), ((truth.flatten(),), exact))
    )
    return [
        row(f"patching: {name}, TransformerLens", slow, "s"),
        row(f"patching: {name}", fast, "s", slow / fast, BAR),
        row(f"patching: {name}, a metric of the whole output", whole, "s", slow / whole),
        row(f"patching: {name}, distance of the normalised effects", apart, "", bar=BAR_SAME, at_most=True),
        row(f"patching: {name}, distance from double, TransformerLens", theirs_off, ""),
        row(f"patching: {name}, distance from double", off, "", off / theirs_off),
    ]


def _difference(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, -1, ANSWER] - logits[:, -1, WRONG]


def _theirs(name: str, model: Transformer, clean: torch.Tensor, corrupt: torch.Tensor) -> Callable[[], torch.Tensor]:
    """TransformerLens's sweep, which begins with the clean run's cache and both runs' metric in its hands."""
    sweep = SWEEPS[name][2]
    ends = [float(_difference(model(tokens))) for tokens in (clean, corrupt)]
    _, cache = model.run_with_cache(clean)

    def normalised(logits: torch.Tensor) -> torch.Tensor:
        return (_difference(logits).mean() - ends[1]) / (ends[0] - ends[1])

    return lambda: sweep(model, corrupt, cache, normalised)


def _attribution_rows() -> list[dict[str, Any]]:
    """Every position of every hook that is worth a patch, at once: how many runs, and passes back, that takes.

    The bar is one of forward–backward passes, and so of the more numerous. One run is of a single sequence, for shapes.
    """
    model, clean, corrupt, metric = _subject(1)
    hooks = [f"blocks.{layer}.{hook}" for layer in range(LAYERS) for hook in EVERYTHING]
    passes: list[str] = []
    model.hook_dict["hook_embed"].add_hook(lambda value, hook: passes.append("forward"), is_permanent=True)
    last = model.hook_dict[f"blocks.{LAYERS - 1}.hook_resid_post"]
    last.add_hook(lambda value, hook: passes.append("backward"), dir="bwd", is_permanent=True)
    ((seconds, found),) = take_turns(
        1, lambda: attribution_patching(model, clean, corrupt, metric, hooks, n_controls=0, bos=True)
    )
    if len(found) != len(hooks) * POSITIONS or set(passes) != {"forward", "backward"}:
        raise RuntimeError(f"{len(found)} estimates of {len(hooks)} hooks came of the passes {passes}.")
    forward, backward = (passes.count(way) for way in ("forward", "backward"))
    return [
        row("attribution patching of everything: passes", max(forward, backward), "", bar=BAR_PASSES, at_most=True),
        row("attribution patching of everything: passes back", backward, ""),
        row(f"attribution patching of everything: {len(found):,} estimates", seconds, "s"),
    ]


def _memory_rows() -> list[dict[str, Any]]:
    small, large = SIZES
    what = f"patching: {PAIRS} pairs, memory beyond the start, {LAYERS} layers"
    little, much, many = (_peak_mb(*of) for of in ((small, FEW), (large, FEW), (small, MANY)))
    return [
        row(f"{what} × {FEW} positions, {small} a pass", little, "MB"),
        row(f"{what} × {FEW} positions, {large} a pass", much, "MB", much / little, large / small, at_most=True),
        row(f"{what} × {MANY} positions, {small} a pass", many, "MB", many / little, BAR_MANY, at_most=True),
    ]


def _peak_mb(batch_size: int, n_positions: int) -> float:
    """How much a sweep over many pairs takes, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.interventions", "--memory", str(batch_size), str(n_positions)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _memory(batch_size: int, n_positions: int) -> None:
    torch.set_num_threads(1)
    model, clean, corrupt, metric = _subject(PAIRS)
    hooks = [f"blocks.{layer}.hook_resid_pre" for layer in range(LAYERS)]
    positions = torch.linspace(POSITIONS // 2 - 1, POSITIONS - 2, n_positions).round().int().tolist()
    places = {"positions": positions, "n_controls": 0}
    activation_patching(model, clean[:1], corrupt[:1], metric, hooks, batch_size=1, **places)
    before = _highest_kb()
    activation_patching(model, clean, corrupt, metric, hooks, batch_size=batch_size, **places)
    print((_highest_kb() - before) / 1024)


def _highest_kb() -> int:
    # Not `ru_maxrss`, in which a new process starts at what the one that started it has.
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", type=int, nargs=2)
    args = parser.parse_args()
    if args.memory is None:
        main(args.quick)
    else:
        _memory(*args.memory)
