"""A config as plain JSON and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import torch

Config = TypeVar("Config")


def config_to_dict(config: Any) -> dict[str, Any]:
    """The fields of a config dataclass as plain JSON. `device` is left out: it belongs to a machine, not to a model."""
    values = dataclasses.asdict(config) | {"dtype": str(config.dtype).removeprefix("torch.")}
    del values["device"]
    return values


def config_from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """What `config_to_dict` gave.

    Raises:
        ValueError: a field is unknown or missing.
    """
    values = dict(values)
    unknown = values.keys() - {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{_article(kind)} has no field {', '.join(sorted(unknown))}.")
    dtype = values.get("dtype", torch.float32)
    if isinstance(dtype, str):
        values["dtype"] = getattr(torch, dtype, None)
        if not isinstance(values["dtype"], torch.dtype):
            raise ValueError(f"dtype {dtype!r} is unknown: float32, float64, bfloat16 and float16 are usual.")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{_article(kind)} cannot be made of {sorted(values)}: {error}.") from error


def _article(kind: type) -> str:
    return ("an " if kind.__name__[0] in "AEIOU" else "a ") + kind.__name__
