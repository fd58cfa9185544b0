"""Other people's logs: TensorBoard and Weights & Biases, each imported only where it is asked for.

Each is opened by `with`, which gives what `train_sae` takes as `on_log`:

    with tensorboard_log("logs/small") as log:
        train_sae(cfg, batches, out="small", on_log=log)
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.sae.training import LogCallback


@contextmanager
def tensorboard_log(folder: str | Path) -> Iterator[LogCallback]:
    """Scalars in a folder that `tensorboard --logdir` shows, against the step.

    A training that goes on from its checkpoint goes on in the same folder: what is logged again replaces what was.
    Raises `ValueError` where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("TensorBoard is not installed: `pip install tensorboard` installs it.") from None
    writer: Any = None

    def log(record: dict[str, float]) -> None:
        nonlocal writer
        step = int(record["step"])
        if writer is None:
            writer = SummaryWriter(str(folder), purge_step=step)
        for name, value in record.items():
            if name != "step":
                writer.add_scalar(name, value, step)

    try:
        yield log
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def wandb_log(project: str, name: str, config: Mapping[str, Any] | None = None) -> Iterator[LogCallback]:
    """A run of a project of Weights & Biases, against the step; several may be open at once.

    Where and whether it is sent is what the user has set (`wandb login`, `WANDB_MODE=offline`). A training that goes
    on from its checkpoint is a new run of the same name. Raises `ValueError` where wandb is not installed or cannot
    begin a run.
    """
    try:
        import wandb
    except ImportError:
        raise ValueError("Weights & Biases is not installed: `pip install wandb` installs it.") from None
    try:
        run = wandb.init(project=project, name=name, config=dict(config or {}), reinit="create_new")
    except wandb.Error as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"Weights & Biases cannot begin a run ({why}): `wandb login`, or WANDB_MODE=offline to keep it here."
        ) from None

    def log(record: dict[str, float]) -> None:
        run.log({key: value for key, value in record.items() if key != "step"}, step=int(record["step"]))

    with run:
        yield log
