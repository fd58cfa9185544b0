"""`workbench harvest`: a run's subject reads its data, and its hooks are recorded."""

import argparse
from pathlib import Path
from typing import Any

from workbench.cli.console import add_run, finish, run_path, say, size, table
from workbench.cli.standing import standing
from workbench.runs import Artifact, Run

DEFAULT_HOOK = "blocks.0.mlp.hook_post"
DEFAULT_HOOKS = (
    DEFAULT_HOOK,
    "blocks.0.rnn.hook_h",
    "decoder_blocks.0.rnn.hook_h",
    "decoder_blocks.0.mlp.hook_post",
    "blocks.0.hook_attn_out",
    "hook_hidden",
)
# What a recording of all layers is called.
LAYERS = "layers"
DEFAULT_TOKENS = 600_000
TEST_SHARE = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    hub = parser.add_argument_group("a model of the Hugging Face hub, which the run is made for")
    hub.add_argument("--model", metavar="hf:MODEL", help="its folder, or its name in the local Hugging Face cache")
    hub.add_argument(
        "--corpus",
        type=Path,
        metavar="PATH",
        help="what it reads, as for `workbench train`, of any length (default: the Python standard library's source)",
    )
    hub.add_argument(
        "--n-ctx", type=int, metavar="N", help="tokens in a sequence (default: what it can see, at most 128)"
    )
    parser.add_argument(
        "--hooks", nargs="+", metavar="HOOK", help=f"default: {DEFAULT_HOOK}, or what the subject has in its place"
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="every residual stream and MLP, or recurrent state: what `workbench probe` compares",
    )
    parser.add_argument("--name", help="the recording's name (default: the hooks' names joined)")
    parser.add_argument(
        "--tokens",
        type=int,
        default=DEFAULT_TOKENS,
        metavar="N",
        help=f"rows to record (default: {DEFAULT_TOKENS:,})",
    )
    parser.add_argument(
        "--positions",
        default="real",
        help="real (all but BOS and padding), last (of each sequence) or bos (all but padding); default: real",
    )
    parser.add_argument("--dtype", default="float16", help="float16, bfloat16 or float32 (default: float16)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    parser.add_argument("--seed", type=int, default=0, help="which sequences are recorded")
    parser.add_argument("--replace", action="store_true", help="record anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench harvest` does and prints."""
    from workbench.activations import ActivationStore

    source = _source(args)
    made = make_recording(
        source,
        _hooks(args, source),
        args.name or (LAYERS if args.layers else None),
        n_tokens=args.tokens,
        dtype=args.dtype,
        positions=args.positions,
        device=args.device,
        seed=args.seed,
        replace=args.replace,
    )
    store = ActivationStore.open(made.path)
    hooks = [[hook, "×".join(map(str, store.shape(hook))), len(store[hook])] for hook in store.hooks]
    say(args, f"{made.path}: {size(made.n_bytes)}, {store.dtype}")
    say(args, table(["hook", "shape of a row", "rows"], hooks))
    # Of sequences of vectors the labels are mostly numbers.
    verb = "probe" if args.layers else "sae" if store.has_tokens else "decode"
    say(args, f"next: workbench {verb} --run {args.run} --activations {made.name}")
    finish(
        args,
        {
            "path": str(made.path),
            "id": made.id,
            "rows": len(store),
            "hooks": {hook: list(store.shape(hook)) for hook in store.hooks},
        },
    )


def _hooks(args: argparse.Namespace, source: Run) -> list[str]:
    if not args.layers:
        return args.hooks or [default_hook(source)]
    if args.hooks:
        raise ValueError("--layers chooses the hooks: leave --hooks out.")
    from workbench.probing import layer_hooks

    return layer_hooks(source.model())


def _source(args: argparse.Namespace) -> Run:
    """The run that is recorded; for a hub model it is made first."""
    if args.model is None:
        for option, value in (("--corpus", args.corpus), ("--n-ctx", args.n_ctx)):
            if value is not None:
                raise ValueError(f"{option} goes with --model: without a hub model, the run's own data are recorded.")
        return Run.open(run_path(args.run))
    from workbench.cli.hub import make_hub_run

    return make_hub_run(
        run_path(args.run), args.model, args.corpus, args.n_ctx, replace=args.replace, tell=lambda text: say(args, text)
    )


def make_recording(
    run: Run,
    hooks: list[str],
    name: str | None = None,
    *,
    n_tokens: int = DEFAULT_TOKENS,
    dtype: str = "float16",
    positions: str = "real",
    device: str = "auto",
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """The recording of some hooks: the one that is there, or one made now."""
    from models import ranks
    from models.checked_input import whole_number
    from workbench.activations import harvest
    from workbench.activations.recorder import check_choices

    check_choices(dtype, positions)
    whole_number(n_tokens, "the number of tokens", least=1)
    whole_number(seed, "seed")
    hooks = list(dict.fromkeys(hooks))
    name = name or default_name(hooks)
    inputs = run.inputs(run.current("dataset"), run.current("model"))
    sample: dict[str, Any] = {"n_tokens": n_tokens, "test_share": TEST_SHARE, "seed": seed}
    wanted = {"hooks": hooks, "dtype": dtype, "positions": positions, "sample": sample}
    if standing(run, "activations", name, inputs, wanted, replace=replace) is None:
        where = ranks.device(device)
        dataset = run.dataset().sample(n_tokens, test_share=TEST_SHARE, seed=seed)
        path = run.path_of("activations", name)
        config = {"sample": sample}
        model = run.model().to(where)
        harvest(model, dataset, hooks, path, dtype=dtype, positions=positions, inputs=inputs, config=config)
        run = run.refresh()
    return run.find("activations", name)


def default_hook(run: Run) -> str:
    """The hook that is recorded where none is named: the first MLP's or recurrent layer's, or what there is instead."""
    known = run.model().hook_dict
    return next((name for name in DEFAULT_HOOKS if name in known), next(iter(known)))


def default_name(hooks: list[str]) -> str:
    """`blocks.0.mlp.hook_post` is recorded as `blocks.0.mlp.post`."""
    return "+".join(hook.replace("hook_", "") for hook in hooks)
