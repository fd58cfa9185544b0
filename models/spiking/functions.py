"""Functions of what a population represents, by the names that a config carries."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

GIVEN = "given"  # decoders that are among the weights, whatever they compute


@dataclass(frozen=True)
class Function:
    """A function of points `[sample, d]`, whose value is `[sample, size(d)]`."""

    call: Callable[[Float[Tensor, "sample d"]], Float[Tensor, "sample d_out"]]
    size: Callable[[int], int]


FUNCTIONS: dict[str, Function] = {
    "identity": Function(lambda x: x, lambda d: d),
    "square": Function(lambda x: x.square(), lambda d: d),
    "absolute": Function(lambda x: x.abs(), lambda d: d),
    "product": Function(lambda x: x.prod(1, keepdim=True), lambda _: 1),
}
