"""The run that the explorer's benchmark opens: 2M recorded tokens, 16,384 features, a subject that reads 512 tokens.

Made once and kept in `runs/bench-explorer`. How well the subject and its dictionaries learned does not matter here; how
many rows, features and firings there are does.
"""

import time
from dataclasses import replace
from pathlib import Path

from models import recipes
from workbench.cli import harvest, index, train
from workbench.cli.main import main as workbench
from workbench.runs import Artifact, Run

RUN = Path(__file__).parents[1] / "runs" / "bench-explorer"
# Wide: what the pages show. The others: how long an index takes, at the size of the bar, of the residual stream (128
# numbers a row) and of an MLP (512).
WIDE, RESIDUAL, MLP = "wide", "residual", "mlp"
N_ROWS = {WIDE: 2_000_000, RESIDUAL: 1_000_000, MLP: 1_000_000}
HOOKS = {WIDE: "blocks.1.hook_resid_post", RESIDUAL: "blocks.1.hook_resid_post", MLP: "blocks.0.mlp.hook_post"}
WIDTHS = {WIDE: 16_384, RESIDUAL: 4_096, MLP: 4_096}
K = 32
_TRAINED_ON = {WIDE: 400_000, RESIDUAL: 300_000, MLP: 300_000}


def subject() -> Run:
    """The run with its subject, both recordings and both dictionaries; what lies there is not made again."""
    usual = recipes.get("python-transformer")
    recipe = replace(
        usual,
        n_ctx=512,
        model=usual.model | {"n_ctx": 512},
        training=replace(usual.training, n_steps=200, batch_size=8),
    )
    train.make_data(Run.create(RUN), recipe, None, tell=print)
    train.make_model(Run.open(RUN), recipe)
    for name, hook in HOOKS.items():
        harvest.make_recording(Run.open(RUN), [hook], name, n_tokens=N_ROWS[name])
        if not any(a.kind == "sae" and a.name == name for a in Run.open(RUN).artifacts()):
            asked = ["--width", WIDTHS[name], "--k", K, "--tokens", _TRAINED_ON[name], "--architecture", "topk"]
            command = ["sae", "--run", RUN, "--activations", name, "--name", name, *asked]
            if workbench([str(word) for word in command]):
                raise RuntimeError(f"the dictionary {name} was not made.")
    return Run.open(RUN)


def built(name: str, *, again: bool = False) -> tuple[Artifact, float]:
    """The index of one of the dictionaries, and the seconds that it took now (0 where it was there)."""
    there = any(a.kind == "features" and a.name == name for a in Run.open(RUN).artifacts())
    start = time.perf_counter()
    made = index.make_index(Run.open(RUN), name, name, replace=again)
    return made, 0.0 if there and not again else time.perf_counter() - start
