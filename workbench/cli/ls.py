"""`workbench ls`: the runs below a folder and what they hold."""

import argparse
from dataclasses import replace
from pathlib import Path

from models.artifacts import ArtifactError
from models.integrity import Damage, verify_artifact
from workbench.cli.console import RUNS, finish, say, size, table
from workbench.runs import Run, list_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("folder", nargs="?", default=RUNS, type=Path, help="a run, or a folder of runs (default: runs)")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read every file that has a checksum, and name what is not as it was published (exit code 2)",
    )


def run(args: argparse.Namespace) -> None:
    """What `workbench ls` does and prints."""
    if not args.folder.is_dir():
        raise ArtifactError(f"there is no folder {args.folder}: `workbench demo` makes a first run in runs/.")
    runs = list_runs(args.folder)
    if not runs:
        say(args, f"{args.folder} holds no run yet: `workbench demo` makes one.")
    result = []
    for found in runs:
        rows, unfinished, damaged = _rows(found), found.unfinished(), found.damaged()
        altered = _altered(found) if args.verify else []
        result.append({"run": str(found.path), "artifacts": rows, "unfinished": unfinished, "damaged": damaged})
        result[-1] |= {"altered": [str(damage) for damage in altered]} if args.verify else {}
        say(args, f"{found.path}")
        lines = [[r["kind"], r["name"], size(r["bytes"]), r["id"][:10], r["made"], r["state"]] for r in rows]
        if lines:
            say(args, _indent(table(["kind", "name", "size", "id", "made", "state"], lines)))
        for name in unfinished:
            say(args, f"  {name} is unfinished: the verb that began it goes on with it.")
        for name, reason in damaged.items():
            say(args, f"  {name} is damaged: {reason}")
        for damage in altered:
            say(args, f"  {damage}.")
        say(args)
    finish(args, {"runs": result})
    if args.verify:
        if n := sum(len(run["damaged"]) + len(run["altered"]) for run in result):
            raise ArtifactError(f"{n} damaged: put the files named above back, or make what they belong to again.")
        say(args, "every file that has a checksum is as it was published.")


def _altered(found: Run) -> list[Damage]:
    """What of a run's artifacts is not as it was published."""
    return [
        replace(damage, file=(artifact.path.relative_to(found.path) / damage.file).as_posix())
        for artifact in found.artifacts()
        for damage in verify_artifact(artifact.path)
    ]


def _rows(found: Run) -> list[dict]:
    return [
        {
            "kind": a.kind,
            "name": a.name,
            "bytes": a.n_bytes,
            "id": a.id,
            "made": a.manifest.made.get("time", ""),
            "state": "stale" if a.stale else "whole",
        }
        for a in found.artifacts()
    ]


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
