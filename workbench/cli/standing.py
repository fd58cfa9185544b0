"""Whether what a verb would make is already there."""

import json
from collections.abc import Mapping
from typing import Any

from models.artifacts import ArtifactError, canonical
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

    One whose inputs have since changed is to be made again. One made from the same inputs with other settings is
    somebody's work: it raises `ArtifactError` unless `replace` is given.
    """
    path = run.path_of(kind, name)
    found = next((a for a in run.artifacts() if a.path == path), None)
    if found is None or replace or found.stale or found.manifest.inputs != dict(inputs):
        return None
    wanted = json.loads(canonical(config))
    for key, value in wanted.items():
        if (old := found.manifest.config.get(key)) != value:
            different = f"{key} {_short(old)}, not {_short(value)}"
            raise ArtifactError(
                f"{path} was made with {different}: choose another "
                f"{'--run' if kind in ('dataset', 'model') else '--name'}, or add --replace."
            )
    return found


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} {v}" for k, v in list(value.items())[:4]) + ", …}"
    return str(value)
