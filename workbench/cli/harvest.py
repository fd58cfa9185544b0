"""`workbench harvest`: a run's subject reads its data, and its hooks are recorded."""

import argparse
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
DEFAULT_TOKENS = 600_000
TEST_SHARE = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument(
        "--hooks", nargs="+", metavar="HOOK", help=f"default: {DEFAULT_HOOK}, or what the subject has in its place"
    )
    parser.add_argument("--name", help="the recording's name (default: the hooks' names joined)")
    parser.add_argument(
        "--tokens",
        type=int,
        default=DEFAULT_TOKENS,
        metavar="N",
        help=f"rows to record (default: {DEFAULT_TOKENS:,})",
    )
    parser.add_argument("--dtype", default="float16", help="float16, bfloat16 or float32 (default: float16)")
    parser.add_argument("--seed", type=int, default=0, help="which sequences are recorded")
    parser.add_argument("--replace", action="store_true", help="record anew over one made with other settings")


def run(args: argparse.Namespace) -> None:
    """What `workbench harvest` does and prints."""
    from workbench.activations import ActivationStore

    source = Run.open(run_path(args.run))
    made = make_recording(
        source,
        args.hooks or [default_hook(source)],
        args.name,
        n_tokens=args.tokens,
        dtype=args.dtype,
        seed=args.seed,
        replace=args.replace,
    )
    store = ActivationStore.open(made.path)
    hooks = [[hook, "×".join(map(str, store.shape(hook))), len(store[hook])] for hook in store.hooks]
    say(args, f"{made.path}: {size(made.n_bytes)}, {store.dtype}")
    say(args, table(["hook", "shape of a row", "rows"], hooks))
    say(args, f"next: workbench sae --run {args.run} --activations {made.name}")
    finish(
        args,
        {
            "path": str(made.path),
            "id": made.id,
            "rows": len(store),
            "hooks": {hook: list(store.shape(hook)) for hook in store.hooks},
        },
    )


def make_recording(
    run: Run,
    hooks: list[str],
    name: str | None = None,
    *,
    n_tokens: int = DEFAULT_TOKENS,
    dtype: str = "float16",
    seed: int = 0,
    replace: bool = False,
) -> Artifact:
    """The recording of some hooks: the one that is there, or one made now."""
    from workbench.activations import harvest

    name = name or default_name(hooks)
    inputs = run.inputs(run.current("dataset"), run.current("model"))
    sample: dict[str, Any] = {"n_tokens": n_tokens, "test_share": TEST_SHARE, "seed": seed}
    wanted = {"hooks": hooks, "dtype": dtype, "sample": sample}
    if standing(run, "activations", name, inputs, wanted, replace=replace) is None:
        dataset = run.dataset().sample(n_tokens, test_share=TEST_SHARE, seed=seed)
        path = run.path_of("activations", name)
        harvest(run.model(), dataset, hooks, path, dtype=dtype, inputs=inputs, config={"sample": sample})
        run = run.refresh()
    return run.find("activations", name)


def default_hook(run: Run) -> str:
    """The hook that is recorded where none is named: the first MLP's or recurrent layer's, or what there is instead."""
    known = run.model().hook_dict
    usual = (DEFAULT_HOOK, "blocks.0.rnn.hook_h", "decoder_blocks.0.rnn.hook_h", "decoder_blocks.0.mlp.hook_post")
    return next(
        (name for name in (*usual, "blocks.0.hook_attn_out", "hook_hidden") if name in known), next(iter(known))
    )


def default_name(hooks: list[str]) -> str:
    """`blocks.0.mlp.hook_post` is recorded as `blocks.0.mlp.post`."""
    return "+".join(hook.replace("hook_", "") for hook in hooks)
