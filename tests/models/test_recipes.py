"""Recipes: every architecture and every task has one, and each is a subject that fits its data and can learn it."""

import math
import re
from dataclasses import replace
from functools import cache

import pytest
import torch

from models import recipes
from models.dataset import Dataset
from models.evaluation import evaluate
from models.fitness import check_fits
from models.recipes import Recipe
from models.saving import ARCHITECTURES, load_model
from models.tasks import TASKS
from models.training import train

ALL = list(recipes.RECIPES.values())
OF_TASKS = [recipe for recipe in ALL if recipe.task is not None]
MEASURED = [recipe for recipe in ALL if recipe.accuracy is not None]
LEARNED = [recipe for recipe in OF_TASKS if recipe.training.n_steps]
SOLVED = [recipe for recipe in OF_TASKS if not recipe.training.n_steps]


def by_name(some):
    return pytest.mark.parametrize("recipe", some, ids=lambda recipe: recipe.name)


@cache
def few_examples(name: str) -> Dataset:
    recipe = recipes.get(name)
    few = {} if recipe.n_train is None else {"n_train": min(recipe.n_train, 64), "n_test": 64}
    return replace(recipe, **few).data()


@pytest.mark.parametrize(
    "architecture", sorted(ARCHITECTURES.keys() - {"hub", "tuned"})
)  # trained by others, or not at all
def test_every_architecture_has_a_recipe_that_states_its_accuracy(architecture):
    assert [r.name for r in MEASURED if r.architecture == architecture]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_recipe_that_states_its_accuracy(task):
    assert [r.name for r in MEASURED if r.task.name == task]


@pytest.mark.parametrize(
    "variant",
    [
        *({"cell": cell} for cell in ("rnn", "lstm", "gru", "mingru")),
        *({"nonlinearity": "relu"}, {"gru_convention": "textbook"}, {"bidirectional": True}),
        *({"attention": attention} for attention in ("bahdanau", "luong_dot", "luong_general")),
        *({"positional_embedding_type": "rotary"}, {"normalization_type": "RMS"}, {"gated_mlp": True}),
    ],
    ids=lambda variant: "-".join(map(str, *variant.items())),
)
def test_every_kind_of_subject_has_a_recipe_that_states_its_accuracy(variant):
    assert [r.name for r in MEASURED if variant.items() <= r.model.items()]


@by_name(ALL)
def test_a_recipe_says_what_it_is(recipe: Recipe):
    assert recipes.get(recipe.name) is recipe
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", recipe.name)
    assert re.fullmatch(r".{20,120}", recipe.summary)
    assert recipe.accuracy is None or (0.5 < recipe.accuracy < 1 and recipe.task is not None)


def test_an_unknown_recipe_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="no recipe is called 'no-such': there are python-transformer, "):
        recipes.get("no-such")


def test_another_length_and_another_seed():
    recipe = recipes.get("flip-flop-gru")
    changed = recipe.with_changes(n_steps=7, seed=3)
    assert (changed.training.n_steps, changed.training.seed, changed.seed) == (7, 3, 3)
    assert recipe.with_changes() == recipe
    first, second = (r.build(r.data()).state_dict() for r in (recipe, changed))
    assert any(not torch.equal(value, second[name]) for name, value in first.items())


@by_name(ALL)
def test_a_corpus_is_not_a_task(recipe: Recipe):
    if recipe.task is None:
        with pytest.raises(ValueError, match=f"the recipe {recipe.name} learns a corpus"):
            recipe.data()
    else:
        assert recipe.data_config()["task"] == recipe.task.to_dict()


@by_name(LEARNED)
def test_the_subject_fits_its_data_and_takes_a_step_of_training(recipe: Recipe):
    dataset = few_examples(recipe.name)
    subject = recipe.build(dataset)
    check_fits(subject, dataset)
    before = {name: value.clone() for name, value in subject.state_dict().items()}
    metrics = train(subject, dataset, replace(recipe.training, n_steps=1, n_eval=16), task=recipe.task)
    assert math.isfinite(metrics["train_loss"].iloc[-1])
    assert 0 <= metrics["heldout_accuracy"].iloc[-1] <= 1
    assert any(not torch.equal(value, before[name]) for name, value in subject.state_dict().items())


@by_name(SOLVED)
def test_a_subject_that_is_solved_for_reaches_the_stated_accuracy_at_once(recipe: Recipe, tmp_path):
    dataset = replace(recipe, n_train=2, n_test=8).data()
    subject = recipe.build(dataset)
    before = {name: value.clone() for name, value in subject.state_dict().items()}
    metrics = train(subject, dataset, recipe.training, run=tmp_path, task=recipe.task)
    assert metrics["step"].tolist() == [0]
    assert metrics["heldout_accuracy"].iloc[-1] >= recipe.accuracy
    loaded = load_model(tmp_path).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in before.items())
    with pytest.raises(ValueError, match=f"the subject of {recipe.name} has nothing to learn: leave the number"):
        recipe.with_changes(n_steps=3)
    with pytest.raises(ValueError, match="this subject has nothing to learn, but n_steps is 5: it must be 0"):
        train(subject, dataset, replace(recipe.training, n_steps=5))


def test_a_subject_that_learns_must_take_steps():
    recipe = recipes.get("flip-flop-gru")
    dataset = few_examples(recipe.name)
    with pytest.raises(ValueError, match="n_steps is 0, but this subject has weights to learn"):
        train(recipe.build(dataset), dataset, replace(recipe.training, n_steps=0), task=recipe.task)
    with pytest.raises(ValueError, match="n_steps is 0: it must be a whole number of at least 1"):
        recipe.with_changes(n_steps=0)


@by_name([recipe for recipe in MEASURED if recipe.training.n_steps])
def test_no_untrained_subject_reaches_the_stated_accuracy(recipe: Recipe):
    dataset = few_examples(recipe.name)
    held_out = dataset.batch(dataset.sequences("test"))
    untrained = evaluate(recipe.build(dataset), held_out, right=recipe.task.right)["accuracy"]
    assert untrained < recipe.accuracy - 0.03
