"""What an edit is held against: one as large along random directions, and one that takes out a random subspace.

A change that differs from row to row is held against one of two kinds, which tables both call `random direction`:
`activation_patching` moves each row as far in a direction of its own (`sites.draw_noise`), and nothing that the rows'
changes have in common is left; `ablate`, `path_patching` and `attribution_patching` turn all changes by one rotation
(`random_rotation`), so that rows that moved together still do.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.interventions.edits import Edit, project_out
from workbench.interventions.subspace import Subspace


def along_random(edit: Edit, seed: int, orthogonal_to: Subspace | None = None) -> Edit:
    """The same edit along random directions: every row is moved as far as it was, but elsewhere.

    Args:
        edit: along any directions.
        seed: of the draw.
        orthogonal_to: draw from what is orthogonal to these directions alone: a probe that reads them sees nothing of
            the edit.

    Raises:
        ValueError: there are not enough other directions.
    """
    subspace = edit.subspace
    avoided = subspace.read[:0] if orthogonal_to is None else orthogonal_to.read
    drawn = random_frame(subspace.k, subspace.d, seed, avoided)
    # write = lower · frame with orthonormal rows: other rows of the same lengths and angles are lower · another frame.
    lower = torch.linalg.qr(subspace.write.T).R.T
    return replace(edit, write=lower @ drawn)


def random_subspace(edit: Edit, seed: int) -> Edit:
    """As many random directions taken out of rows as `edit` takes out, about the same centre.

    Raises:
        ValueError: it takes none out, but moves rows, which is held against `along_random`.
    """
    if edit.centre is None:
        raise ValueError(
            f"{edit.name} moves rows and takes no subspace out of them, as project_out and erase do: "
            "along_random(edit, seed) moves them as far along random directions."
        )
    frame = Subspace.along(random_frame(edit.subspace.k, edit.subspace.d, seed, edit.subspace.read[:0]))
    return replace(project_out(frame, edit.centre), name=edit.name)


def random_rotation(d: int, seed: int) -> Float[Tensor, "d d"]:
    """An orthogonal map, drawn alike from all of them: displacements `x @ map` are as long, and as far apart."""
    return random_frame(d, d, seed, torch.empty(0, d, dtype=torch.float64))


def random_frame(k: int, d: int, seed: int, avoided: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "k d"]:
    """Orthonormal directions, drawn alike from all those that are orthogonal to `avoided`.

    Raises:
        ValueError: there are not enough of them.
    """
    avoided = torch.empty(0, d, dtype=torch.float64) if avoided is None else avoided
    if k + len(avoided) > d:
        raise ValueError(f"there are not {k} further directions among {d} that are orthogonal to {len(avoided)}.")
    drawn = torch.randn(k, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if len(avoided):
        basis = torch.linalg.qr(avoided.T).Q
        drawn = drawn - drawn @ basis @ basis.T
    q, r = torch.linalg.qr(drawn.T)
    return (q * r.diagonal().sign()).T  # the factorisation's own signs would favour one side
