"""`workbench export`: chosen features and views of a run as a site of files, which a browser opens from disk.

Features that were bookmarked or labelled come along with those that were chosen.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from models.artifacts import ArtifactError
from workbench.cli.console import add_run, begin, run_path

VIEWS = ("runs", "features", "probes", "population", "dynamics", "attention", "interventions", "reproductions")
TOP = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_run(parser)
    parser.add_argument("--static", required=True, metavar="DIR", help="the site's folder: a new or an empty one")
    parser.add_argument("--index", metavar="NAME", help="the feature index (default: the newest)")
    features = parser.add_mutually_exclusive_group()
    features.add_argument(
        "--features",
        type=int,
        nargs="+",
        metavar="N",
        help="these, in this order, and those that you bookmarked or labelled",
    )
    features.add_argument(
        "--top",
        type=int,
        metavar="N",
        help=f"those of each kind of name that beat their best neuron by most (default: {TOP})",
    )
    features.add_argument("--list", metavar="NAME", help="those on a list of your notes, with what is written there")
    parser.add_argument("--views", nargs="+", choices=VIEWS, metavar="VIEW", help=f"{', '.join(VIEWS)} (default: all)")
    parser.add_argument("--replace", action="store_true", help="write over a site that is there")


def run(args: argparse.Namespace) -> None:
    """What `workbench export` does; the site is written, and told of, by a process of the floor above."""
    if not run_path(args.run).is_dir():
        raise ArtifactError(f"there is no run at {run_path(args.run)}: `workbench demo` makes a first one.")
    begin()
    if code := subprocess.call(command(args)):
        sys.exit(code)


def command(args: argparse.Namespace) -> list[str]:
    """What writes the site. `-P`: a folder called `models` where the user stands must not shadow ours."""
    asked = ["--run", str(args.run), "--static", str(Path(args.static))]
    for name in ("index", "top", "list"):
        if (value := getattr(args, name)) is not None:
            asked += [f"--{name}", str(value)]
    for name in ("features", "views"):
        if (values := getattr(args, name)) is not None:
            asked += [f"--{name}", *map(str, values)]
    asked += [f"--{name}" for name in ("replace", "json") if getattr(args, name)]
    return [sys.executable, "-P", "-m", "apps.export", *asked]
