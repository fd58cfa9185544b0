"""Named pairings of subject, data and training that are known to work."""

from models.recipes import circuits, corpora, memory, populations, sparsity, translation
from models.recipes.recipe import Recipe

__all__ = ["RECIPES", "Recipe", "get"]

_FAMILIES = (corpora, memory, translation, circuits, sparsity, populations)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for family in _FAMILIES for recipe in family.RECIPES}


def get(name: str) -> Recipe:
    """The recipe of a name. Raises `ValueError`, naming those there are, for another."""
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}: there are {', '.join(RECIPES)}.")
    return RECIPES[name]
