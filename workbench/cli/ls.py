"""`workbench ls`: the runs below a folder and what they hold."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from models.artifacts import MANIFEST, ArtifactError, Manifest
from models.integrity import Damage, verify_artifact
from workbench.cli.console import RUNS, finish, run_path, say, size, table
from workbench.runs import Artifact, Run, artifacts_outside, list_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "folder",
        nargs="?",
        default=str(RUNS),
        help="a run's folder or its name in runs/, a folder of runs, or an artifact (default: runs)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read every file that has a checksum, and name what is not as it was published (exit code 2)",
    )


def run(args: argparse.Namespace) -> None:
    """What `workbench ls` does and prints."""
    folder = run_path(args.folder)
    if not folder.exists():
        raise ArtifactError(f"there is no folder {folder}: `workbench demo` makes a first run in runs/.")
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is a file: name a run, a folder of runs, or an artifact's folder.")
    runs, outside = list_runs(folder), artifacts_outside(folder)
    if not runs and not outside:
        if (folder / MANIFEST).exists():
            Manifest.read(folder)  # which says what is wrong with it
        if args.verify:
            raise ArtifactError(f"{folder} holds neither a run nor an artifact: nothing was checked.")
        say(args, f"{folder} holds no run yet: `workbench demo` makes one.")
    result = [_told_of_run(args, found) for found in runs]
    apart = [_told_of_artifact(args, found) for found in outside]
    finish(args, {"runs": result, "outside": apart})
    if args.verify:
        if n := sum(len(found.get("damaged", ())) + len(found["altered"]) for found in [*result, *apart]):
            raise ArtifactError(
                f"{n} damaged: put the files named above back, or make what they belong to again (with --replace)."
            )
        say(args, "every file that has a checksum is as it was published.")


def _told_of_run(args: argparse.Namespace, found: Run) -> dict:
    """What a run holds, told and as JSON."""
    artifacts, drafts, damaged = found.artifacts(), found.drafts(), found.damaged()
    rows = [_row(artifact) for artifact in artifacts]
    altered = list(_altered(found, artifacts)) if args.verify else []
    say(args, f"{found.path}")
    _tell_rows(args, rows)
    for draft in drafts:
        say(args, f"  {draft.about(found.key(draft.home))}")
    for name, reason in damaged.items():
        say(args, f"  {name} is damaged: {reason}")
    for damage in altered:
        say(args, f"  {damage}.")
    say(args)
    return {
        "run": str(found.path),
        "artifacts": rows,
        "unfinished": found.unfinished(),
        "being_made": [found.key(draft.home) for draft in drafts if draft.maker],
        "damaged": damaged,
    } | ({"altered": [str(damage) for damage in altered]} if args.verify else {})


def _told_of_artifact(args: argparse.Namespace, found: Artifact) -> dict:
    """An artifact that stands in none of the runs, told and as JSON."""
    altered = _damage(found.path, found.manifest) if args.verify else []
    row = _row(found)
    say(args, f"{found.path}")
    _tell_rows(args, [row])
    for damage in altered:
        say(args, f"  {damage}.")
    say(args)
    return {"path": str(found.path)} | row | ({"altered": [str(damage) for damage in altered]} if args.verify else {})


def _altered(found: Run, artifacts: list[Artifact]) -> Iterable[Damage]:
    """What of a run's artifacts is not as it was published."""
    for artifact in artifacts:
        for damage in _damage(artifact.path, artifact.manifest):
            yield replace(damage, file=f"{found.key(artifact.path)}/{damage.file}")


def _damage(path: Path, manifest: Manifest) -> list[Damage]:
    if manifest.kind == "activations":
        from workbench.activations.verification import verify_store

        return verify_store(path)
    config = manifest.config
    if manifest.kind == "model" and config.get("architecture") == "hub":
        from models.hub_files import HubFolder

        try:
            HubFolder.referred_to(config["source"], config["revision"], config["digest"])
        except ArtifactError as error:
            what = f"names weights that are not as they were: {str(error).removesuffix('.')}"
            return [*verify_artifact(path), Damage("config.json", None, what)]
    return verify_artifact(path)


def _row(artifact: Artifact) -> dict:
    return {
        "kind": artifact.kind,
        "name": artifact.name,
        "bytes": artifact.n_bytes,
        "id": artifact.id,
        "made": artifact.manifest.made.get("time", ""),
        "state": "stale" if artifact.stale else "whole",
    }


def _tell_rows(args: argparse.Namespace, rows: list[dict]) -> None:
    lines = [[r["kind"], r["name"], size(r["bytes"]), r["id"][:10], r["made"], r["state"]] for r in rows]
    if lines:
        shown = table(["kind", "name", "size", "id", "made", "state"], lines)
        say(args, "\n".join("  " + line for line in shown.splitlines()))
