"""Whether a recording is what its manifest says: what the manifest must say, and the files against it."""

from math import prod
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.artifacts import MANIFEST, ArtifactError, Manifest
from models.integrity import Damage, verify_artifact
from models.tensor_files import read_header
from workbench.activations.shard_files import AXES, FORMATS, rows_name, shard_name


def check_manifest(path: Path, manifest: Manifest) -> None:
    """Whether a manifest has what a reader needs: `hooks`, `dtype`, and in `results` the `shards` and `hooks`.

    Raises:
        ArtifactError: it is not of a recording, or lacks something, or contradicts itself.
    """
    if manifest.kind != "activations":
        raise ArtifactError(f"{path} holds {manifest.kind}, not activations.")
    config, results = manifest.config, manifest.config.get("results")
    if isinstance(results, dict) and isinstance(results.get("shards"), list):
        raise ArtifactError(f"{path} was recorded in an earlier format: record it again (`workbench harvest`).")
    try:
        shards, hooks = results["shards"], results["hooks"]  # type: ignore[index]
        numbers = {len(rows) for axis, rows in shards.items() if axis in AXES and sum(rows) >= 0}
        axes = {entry["axis"] for entry in hooks.values() if all(n > 0 for n in entry["shape"])}
        whole = len(numbers) == 1 and set(config["hooks"]) == set(hooks) and axes == set(shards)
        whole = whole and config["dtype"] in FORMATS
    except (AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ArtifactError(
            f"{path / MANIFEST} does not describe a recording: it needs `hooks`, `dtype`, `results.shards` and "
            "`results.hooks`, which fit each other (docs/activation-store.md)."
        )


def verify_store(path: Path) -> list[Damage]:
    """Everything that is damaged, missing, or other than the manifest says: which shard, which hook.

    Raises:
        ArtifactError: there is no manifest, or it is not one of ours.
    """
    manifest = Manifest.read(path)
    try:
        check_manifest(path, manifest)
    except ArtifactError as error:
        return [Damage(MANIFEST, None, f"cannot be used: {error}")]
    found = verify_artifact(path)
    for further in (_misfits(path, manifest), _without_checksum(manifest)):
        known = {(damage.file, damage.tensor) for damage in found}
        found += [d for d in further if not {(d.file, None), (d.file, d.tensor)} & known]
    return sorted(found, key=lambda damage: (damage.file, damage.tensor or ""))


def _parts(manifest: Manifest) -> list[tuple[str, str | None, tuple[int, ...]]]:
    """File, tensor and shape of everything that a recording has; of a row table the number of rows."""
    results = manifest.config["results"]
    shapes = {name: (entry["axis"], prod(entry["shape"])) for name, entry in results["hooks"].items()}
    tables = [
        (rows_name(i, axis), None, (n,)) for axis, sizes in results["shards"].items() for i, n in enumerate(sizes)
    ]
    tensors = [
        (shard_name(i), name, (n, width))
        for name, (axis, width) in shapes.items()
        for i, n in enumerate(results["shards"][axis])
    ]
    return [*tables, *tensors]


def _without_checksum(manifest: Manifest) -> list[Damage]:
    if not manifest.checksums:
        what = "has no checksums: whether the files are as they were written cannot be told"
        return [Damage(MANIFEST, None, what)]
    keys = {(file, tensor): file if tensor is None else f"{file}#{tensor}" for file, tensor, _ in _parts(manifest)}
    return [
        Damage(file, tensor, "has no checksum in the manifest")
        for (file, tensor), key in keys.items()
        if key not in manifest.checksums
    ]


def _misfits(path: Path, manifest: Manifest) -> list[Damage]:
    """Where a file is not of the format, shape or length that the manifest has."""
    dtype = FORMATS[manifest.config["dtype"]]
    found = []
    for file, tensor, shape in _parts(manifest):
        try:
            if tensor is None:
                n = pq.read_metadata(path / file).num_rows
                what = f"has {n} rows where the manifest has {shape[0]}" if (n,) != shape else None
            else:
                place = read_header(path / file).get(tensor)
                what = "is missing" if place is None else None
                if place is not None and (place.dtype, place.shape) != (dtype, shape):
                    what = f"is {place.dtype} {list(place.shape)} where the manifest has {dtype} {list(shape)}"
        except FileNotFoundError:
            what = "is missing"
        except (ArtifactError, OSError, pa.ArrowInvalid):
            what = "cannot be read"
        if what:
            found.append(Damage(file, tensor, what))
    return found
