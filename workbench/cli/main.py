"""`workbench VERB …`: finds the verb, and turns what is wrong with the input into one sentence.

Only the verb that was asked for is imported: `workbench --help` loads neither torch nor Streamlit.
"""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

VERBS = {
    "demo": "train, record, take apart and look: the whole way on the default corpus",
    "train": "train a subject on a corpus or a task",
    "harvest": "record a subject's hooks",
    "sae": "train a dictionary on a recording and measure it beside its controls",
    "probe": "tell what can be read from every hook, each score beside its controls",
    "decode": "tell what a population says of a variable, and how each unit is tuned to it",
    "dynamics": "find where a recurrent subject's states lead: fixed points, portrait, gates, units",
    "heads": "tell what each attention head looks at, what its weights compute, what it costs to lose it",
    "patch": "find where a subject holds what two prompts differ in: patching, lens, direct logit attribution",
    "lens": "tell what a subject would say after each layer, and which parts add to what it says",
    "steer": "let a subject go on from text while it is pushed along a direction",
    "circuit": "find which edges between its parts, and which features, an answer goes through, beside random ones",
    "index": "make a dictionary's features browsable, with names that are measured",
    "explore": "open the explorer",
    "export": "make a site of files of chosen features and views, which opens without a server",
    "notes": "tell what people wrote about a run's features; export it and import it",
    "reproduce": "re-make published results: published | ours | bar",
    "ls": "list runs and what they hold",
}
BAD_INPUT = 2
HOUSE = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; 0 if all went well, 2 on bad input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="workbench", description="Train small networks, record them, take them apart, and look."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == asked:
            module = importlib.import_module(f"workbench.cli.{name}")
            module.add_arguments(verb)
            verb.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")
            verb.set_defaults(run_verb=module.run)
    args = parser.parse_args(arguments)
    try:
        args.run_verb(args)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, FloatingPointError) as error:
        if not _is_about_the_input(error):
            raise
        if type(error).__name__ != "RefusedByFirst":  # another process of ours says it
            print(f"workbench {args.verb}: {_sentence(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\nworkbench {args.verb}: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    if "WORLD_SIZE" in os.environ:  # started by `torchrun`
        from models import ranks

        ranks.leave()
    return 0


def _is_about_the_input(error: Exception) -> bool:
    """What our own code raises is a sentence for the user; a library's ValueError is a bug and keeps its trace."""
    if isinstance(error, OSError):
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = Path(last.filename).resolve().is_relative_to(HOUSE) and "site-packages" not in last.filename
    return ours and (last.line or "").startswith("raise")  # int("x") fails in our line too, but we did not say so


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the file system'}: {error.strerror}."
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
