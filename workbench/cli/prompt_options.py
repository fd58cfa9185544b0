"""Which pairs of prompts a verb is asked about: two texts, minimal pairs of Python source, or a task's examples."""

import argparse
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.cli.console import number
from workbench.cli.offered import PAIR_KINDS
from workbench.runs import Run

if TYPE_CHECKING:
    from workbench.experiments import Prompts

N_PAIRS = 64


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """The options that say which prompts."""
    parser.add_argument("--clean", metavar="TEXT", help="a prompt")
    parser.add_argument("--corrupt", metavar="TEXT", help="the same but for a word or so, as many tokens long")
    parser.add_argument("--answer", metavar="TOKEN", help="after the clean prompt (default: the subject's likeliest)")
    parser.add_argument("--wrong", metavar="TOKEN", help="after the corrupt prompt (default: the subject's likeliest)")
    parser.add_argument("--pairs", choices=PAIR_KINDS, help="minimal pairs of Python source instead")
    parser.add_argument(
        "--examples", action="store_true", help="pairs of the run's held-out examples instead, of a task"
    )
    parser.add_argument("--n", type=number, metavar="N", help=f"how many pairs or examples (default: {N_PAIRS})")


@dataclass(frozen=True)
class AskedPrompts:
    """Prompts from one place: typed, `pairs` or `examples`.

    Raises:
        ValueError: they are asked for from no place or from several, or with what belongs to another.
    """

    clean: str | None = None
    corrupt: str | None = None
    answer: str | None = None
    wrong: str | None = None
    pairs: str | None = None
    examples: bool = False
    n: int | None = None

    @classmethod
    def of(cls, args: argparse.Namespace) -> "AskedPrompts":
        """As they were asked for on the command line."""
        return cls(args.clean, args.corrupt, args.answer, args.wrong, args.pairs, args.examples, args.n)

    def __post_init__(self) -> None:
        typed = self.is_typed
        if typed + (self.pairs is not None) + self.examples != 1:
            raise ValueError("prompts are wanted from one place: --clean with --corrupt, --pairs, or --examples.")
        if typed and (self.clean is None or self.corrupt is None):
            raise ValueError("two prompts are compared: give both --clean and --corrupt.")
        if not typed and (self.answer is not None or self.wrong is not None):
            raise ValueError("--answer and --wrong are of typed prompts: pairs and examples have answers of their own.")
        if typed and self.n is not None:
            raise ValueError("--n is of --pairs and --examples: typed prompts are one pair.")

    @property
    def is_typed(self) -> bool:
        """Whether they are texts of the user's."""
        return self.clean is not None or self.corrupt is not None

    @property
    def count(self) -> int:
        """How many pairs."""
        return 1 if self.is_typed else N_PAIRS if self.n is None else self.n

    @property
    def config(self) -> dict[str, Any]:
        """As a manifest keeps it."""
        return asdict(self) | {"n": self.count}

    def read(self, run: Run, model: Any, seed: int) -> "Prompts":
        """The prompts themselves. `ValueError` where the subject reads no such ones, or they cannot be compared."""
        from models.checked_input import whole_number
        from workbench.experiments import example_prompts, minimal_pair_prompts, typed_prompts

        whole_number(self.count, "the number of pairs", least=1)
        if self.clean is not None and self.corrupt is not None:
            return typed_prompts(model, self.clean, self.corrupt, self.answer, self.wrong)
        if self.pairs is not None:
            return minimal_pair_prompts(model, self.pairs, self.count, seed)
        return example_prompts(run.dataset(with_labels=False), self.count, seed)
