"""Whether what a verb would make is already there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.artifacts import ArtifactError, canonical, check_replaceable
from models.integrity import missing_or_cut
from workbench.runs import Artifact, Run


def standing(
    run: Run,
    kind: str,
    name: str,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    *,
    replace: bool = False,
) -> Artifact | None:
    """The artifact, if it is whole and was made from the same inputs with the same settings; None if it is to be made.

    One whose inputs have since changed is to be made again. One made from other inputs, or from the same with other
    settings, is somebody's work: it raises `ArtifactError` unless `replace` is given. So does one with a file that is
    missing or cut short, since it may be put back; what is no such artifact is never replaced.
    """
    path = run.path_of(kind, name)
    check_replaceable(path, kind)
    found = next((a for a in run.artifacts() if a.path == path), None)
    if found is None or replace:
        return None
    if other := sorted(set(found.manifest.inputs) - set(inputs)):
        missing = sorted(set(inputs) - set(found.manifest.inputs))
        raise _refusal(path, kind, f"from {' and '.join(other)}, not {' and '.join(missing)}")
    if found.stale or found.manifest.inputs != dict(inputs):
        return None
    wanted = json.loads(canonical(config))
    for key, value in wanted.items():
        if (old := found.manifest.config.get(key)) != value:
            raise _refusal(path, kind, f"with {_difference(key, old, value)}")
    if damage := missing_or_cut(path):
        raise ArtifactError(f"{path} is damaged: {damage[0]}; put it back, or add --replace.")
    return found


def _refusal(path: Path, kind: str, made: str) -> ArtifactError:
    option = "--run" if kind in ("dataset", "model") else "--name"
    return ArtifactError(f"{path} was made {made}: choose another {option}, or add --replace.")


def _difference(key: str, old: Any, new: Any) -> str:
    """What differs, and nothing else of what may be long."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return f"{key} {old}, not {new}"
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return "; ".join(f"{name} {old.get(name)}, not {new.get(name)}" for name in names)
