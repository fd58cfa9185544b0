"""What holds for every task: seeds, shapes, splits, labels, and tasks as plain JSON."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled_examples import examples_of

from models.tasks import (
    TASKS,
    BandLimited,
    ClassEvidence,
    Copy,
    DateNormalisation,
    Dyck,
    FlipFlop,
    HeadDirection,
    ModularAddition,
    Navigation,
    PlantedFeatures,
    RepeatedSequences,
    SignedEvidence,
    SparseFeatures,
    Task,
    task_from_dict,
)

# Of the tokens, sources and targets of 16 examples drawn with seed 3: the same on every machine.
OF_TOKENS = {
    ModularAddition(p=11): "8a370064abedc481",
    RepeatedSequences(): "456c0b6b61cb4bc6",
    Copy(): "e1fe8d49d40f0296",
    Copy(reverse=True): "4bd0cb076d1d5263",
    DateNormalisation(): "ca493e8e7890e819",
    Dyck(): "2eb5df87c7392950",
    Dyck(n_types=3, objective="next"): "4aec5e8215892ecf",
}
# Of vectors the first input that is not 0, and the sums of inputs and targets: rounding may differ by machine.
OF_VECTORS = {
    FlipFlop(): (-1.0000, -28.0000, -152.0000),
    SignedEvidence(): (0.1238, 7.8746, 47.6525),
    SignedEvidence(objective="sign"): (0.1238, 7.8746, -78392.0000),
    ClassEvidence(): (0.0550, 800.7633, -78388.0000),
    ClassEvidence(every_step=True): (0.0550, 800.7633, 794.0000),
    Navigation(): (1.0000, 1975.8107, 1022.7848),
    HeadDirection(): (-0.5547, 10.9438, -445.2087),
    PlantedFeatures(): (-0.3330, 0.5242, 60.0639),
    PlantedFeatures(group_size=4, correlation=0.5, n_children=32, noise=0.1, objective="vectors"): (
        -0.2479,
        -2.7213,
        2.0352,
    ),
    BandLimited(): (0.3090, 0.0, 0.0),
    BandLimited(objective="integral"): (2.0144, -4.0473, -259.5133),
    BandLimited(objective="oscillation", d=2): (-6.8526, 1094.8902, -490.7905),
    SparseFeatures(n_features=20): (0.3863, 13.7656, 13.7656),
}
ALL = [*OF_TOKENS, *OF_VECTORS]
each_task = pytest.mark.parametrize("task", ALL, ids=lambda task: f"{task.name}-{ALL.index(task)}")


def drawn(task: Task, n: int, seed: int = 0):
    return task.draw(n, np.random.default_rng(seed))


def small_dataset(task: Task, seed: int = 0):
    return task.dataset(seed=seed) if isinstance(task, ModularAddition) else task.dataset(40, 20, seed)


def test_every_task_is_tried_here():
    assert {task.name for task in ALL} == set(TASKS)
    assert all(TASKS[name].name == name for name in TASKS)


@pytest.mark.parametrize("task", OF_TOKENS, ids=lambda task: f"{task.name}-{ALL.index(task)}")
def test_a_seed_gives_these_tokens_everywhere(task):
    found = drawn(task, 16, seed=3)
    parts = [part for part in (found.tokens, found.source, found.targets) if part is not None]
    digest = hashlib.sha256(b"".join(part.astype("<i8").tobytes() for part in parts)).hexdigest()
    assert digest[:16] == OF_TOKENS[task]


@pytest.mark.parametrize("task", OF_VECTORS, ids=lambda task: f"{task.name}-{ALL.index(task)}")
def test_a_seed_gives_these_vectors_everywhere(task):
    found = drawn(task, 16, seed=3)
    values = [found.tokens[found.tokens != 0][0], found.tokens.sum(dtype=float), found.targets.sum(dtype=float)]
    assert np.array(values, float) == pytest.approx(OF_VECTORS[task], rel=1e-4, abs=1e-4)


@each_task
def test_seeds_and_steps_draw_apart_and_the_same_ones_alike(task):
    first = task.batch(8, seed=1, step=2)
    assert all(torch.equal(value, first[name]) for name, value in task.batch(8, seed=1, step=2).items())
    key = "source" if "source" in first else "input"
    for other in (task.batch(8, seed=1, step=3), task.batch(8, seed=2, step=2)):
        assert not torch.equal(other[key], first[key])
    data = small_dataset(task, seed=1)
    shown = data.tokens if data.source is None else data.source
    assert not torch.equal(shown[:8], first[key])


@each_task
def test_the_global_random_state_is_left_alone(task):
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    small_dataset(task)
    task.batch(4, 0)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@each_task
def test_the_shape_is_what_a_subject_needs(task):
    data, shape = small_dataset(task), task.shape
    if "d_in" in shape:
        assert data.bos is None
        assert data.tokens.dtype == torch.float32
        assert data.tokens.shape[2] == shape["d_in"]
        if data.targets.is_floating_point():
            assert data.targets.dtype == torch.float32
            assert data.targets.shape == (*data.tokens.shape[:2], shape["d_out"])
        else:
            assert 0 <= data.targets[data.targets != -100].min() <= data.targets.max() < shape["d_out"]
        return
    assert data.tokens.shape[1] <= shape["n_ctx"]
    assert (data.tokens[:, 0] == 0).all()
    assert (data.tokens[:, 1:][data.mask[:, 1:]] > 0).all(), "only BOS has id 0"
    assert 0 <= data.tokens.min() <= data.tokens.max() < shape["d_vocab"]
    assert (data.tokens[~data.mask] == 0).all()
    if data.targets is not None:
        assert data.targets.max() < shape.get("d_out", shape["d_vocab"])
    if data.source is not None:
        assert data.source.shape[1] <= shape["n_ctx"]
        assert 1 <= data.source[data.source_mask].min() <= data.source.max() < shape["d_vocab_source"]
        assert (data.source[~data.source_mask] == 0).all()


@each_task
def test_padding_stands_only_at_the_end(task):
    data = small_dataset(task)
    for mask in (data.mask, data.source_mask):
        if mask is not None:
            assert mask[:, 0].all()
            assert (mask[:, 1:] <= mask[:, :-1]).all()


@each_task
def test_no_test_example_is_a_training_example(task):
    data = small_dataset(task)
    shown = data.tokens if data.source is None else data.source
    train = {row.numpy().tobytes() for row in shown[data.sequences("train")]}
    test = {row.numpy().tobytes() for row in shown[data.sequences("test")]}
    assert train
    assert test
    assert not train & test


@each_task
def test_labels_are_missing_for_bos_and_there_for_something_else(task):
    data = small_dataset(task)
    found = examples_of(data)
    assert all(len(example.labels) == len(example.tokens) for example in found)
    for name in data.labels.column_names:
        at_first = [example.labels[0][name] for example in found]
        assert (
            all(value is None for value in at_first)
            if data.bos is not None
            else None not in at_first or name == "leader"
        )
        assert any(row[name] is not None for example in found for row in example.labels[1:] or example.labels)


@each_task
def test_a_dataset_is_saved_and_read_back_whole(task, tmp_path):
    data = small_dataset(task)
    data.save(tmp_path / "run")
    back = type(data).load(tmp_path / "run")
    assert torch.equal(back.tokens, data.tokens)
    assert back.labels.equals(data.labels)
    assert (back.source_labels is None) == (data.source_labels is None)


@each_task
def test_a_task_is_written_as_json_and_read_back(task):
    assert task_from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_what_is_left_out_of_the_json_has_its_default():
    assert task_from_dict({"name": "flip_flop", "n_bits": 2}) == FlipFlop(n_bits=2)
    assert task_from_dict({"name": "flip_flop", "p": 1}).p == 1


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": "sorting"}, "no task is called 'sorting': there are modular_addition, "),
        ({}, "no task is called None"),
        ({"name": "flip_flop", "bits": 3}, "the task flip_flop has no field bits: there are n_bits, n_steps, p"),
        ({"name": "flip_flop", "n_bits": "3"}, "n_bits of the task flip_flop is '3': it must be a whole number"),
        ({"name": "flip_flop", "n_bits": 3.5}, "it must be a whole number"),
        ({"name": "copy", "reverse": 1}, "reverse of the task copy is 1: it must be true or false"),
        ({"name": "flip_flop", "n_bits": 0}, "n_bits is 0: it must be at least 1"),
    ],
)
def test_json_that_is_no_task_is_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        task_from_dict(values)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ModularAddition(p=1), "p is 1: it must be at least 2"),
        (lambda: ModularAddition(p=5, train_share=0.0), "train_share is 0.0: it must leave some of the 25 pairs"),
        (lambda: ModularAddition(p=5, train_share=1.0), "train_share is 1.0"),
        (lambda: ModularAddition(p=5).dataset(26, 0), "26 pairs for training and 0 for testing: .* there are 25 pairs"),
        (lambda: RepeatedSequences(min_period=9, max_period=8), "min_period is 9 and max_period 8"),
        (
            lambda: RepeatedSequences(n_symbols=30),
            "30 symbols cannot all be different in a prefix of 8 and a period of 24",
        ),
        (lambda: RepeatedSequences(n_ctx=56), "n_ctx is 56: BOS, a prefix of 8 and a period of 24 twice need 57"),
        (lambda: Copy(min_length=0), "min_length is 0 and max_length 20: they must be at least 1"),
        (lambda: Copy(n_symbols=1), "n_symbols is 1: it must be at least 2"),
        (lambda: DateNormalisation(n_formats=17), "n_formats is 17: it must be from 1 to 16"),
        (lambda: DateNormalisation(first_year=2000, last_year=1999), "first_year is 2000 and last_year 1999"),
        (lambda: Dyck(min_length=7, max_length=7), "all lengths from 7 to 7 are odd"),
        (lambda: Dyck(p_open=1.5), "p_open is 1.5: it must be between 0 and 1"),
        (lambda: Dyck(objective="depth"), "objective 'depth' is unknown: there are depth_zero and next"),
        (lambda: Dyck(max_depth=0), "max_depth is 0: it must be at least 1"),
        (lambda: FlipFlop(n_bits=33), "n_bits is 33: more than 32"),
        (lambda: FlipFlop(p=-0.1), "p is -0.1: it must be between 0 and 1"),
        (lambda: FlipFlop(p=float("nan")), "p is nan: it must be between 0 and 1"),
        (lambda: SignedEvidence(max_drift=0, noise=0), "there is then no evidence"),
        (lambda: SignedEvidence(noise=-1), "noise is -1: it must be at least 0"),
        (lambda: ClassEvidence(n_classes=1), "n_classes is 1: it must be at least 2"),
        (lambda: ClassEvidence(coherence=2), "coherence is 2: it must be between 0 and 1"),
        (lambda: Navigation(side=0), "side is 0: it must be above 0"),
        (lambda: Navigation(side=0.05), "a box with sides of 0.05 m is too small"),
        (lambda: PlantedFeatures(n_active=0), "n_active is 0: it must be above 0, and at most 128"),
        (
            lambda: PlantedFeatures(n_active=20, zipf=1.0),
            "the most frequent feature would be active with probability 3.68",
        ),
        (lambda: PlantedFeatures(correlation=0.5), "a correlation needs groups"),
        (lambda: PlantedFeatures(n_children=65), "65 children need as many parents, but there are 128 features"),
        (lambda: PlantedFeatures(n_labelled=129), "129 features cannot be labelled: there are 128"),
        (lambda: SparseFeatures(sparsity=1.0), "sparsity is 1.0: it must be at least 0 and below 1"),
        (lambda: FlipFlop().batch(0, 0), "a batch of 0 examples was asked for"),
        (lambda: FlipFlop().dataset(0), "0 examples for training and 0 for testing: at least 1 and 0 are needed"),
    ],
)
def test_what_makes_no_sense_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_task_too_small_for_a_test_set_says_so():
    with pytest.raises(ValueError, match="all 5 test examples are among the 500 for training"):
        Copy(n_symbols=2, min_length=1, max_length=2).dataset(500, 5)


@each_task
def test_the_right_output_scores_one_and_a_wrong_one_less(task):
    batch = task.batch(32, 0)
    right = right_output(task, batch)
    assert task.accuracy(right, batch) == 1
    assert task.exact_match(right, batch) == 1
    wrong = -right - (0 if right.min() < 0 else 1) * 5
    assert task.accuracy(wrong, batch) < 0.5
    assert task.exact_match(wrong, batch) <= task.accuracy(wrong, batch)


def right_output(task: Task, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Vectors as they should be; for classes and tokens, 1 for the right one and 0 for the others."""
    targets = batch.get("targets")
    if targets is not None and targets.is_floating_point():
        return targets
    if targets is None:
        targets = batch["input"].roll(-1, 1)
    size = task.shape.get("d_out", task.shape.get("d_vocab"))
    return torch.nn.functional.one_hot(targets.clamp(min=0), size).float()


def test_what_is_not_asked_does_not_count():
    task = Copy(max_length=8)
    batch = task.batch(32, 0)
    right = right_output(task, batch)
    last = batch["mask"].sum(1) - 1  # of EOS, which nothing follows
    right[torch.arange(32), last] = torch.nn.functional.one_hot(torch.tensor(3), right.shape[-1]).float()
    right[~batch["mask"]] = 7
    assert task.accuracy(right, batch) == 1
    wrong_eos = right.clone()
    wrong_eos[torch.arange(32), last - 1] = torch.nn.functional.one_hot(torch.tensor(3), right.shape[-1]).float()
    assert task.exact_match(wrong_eos, batch) == 0
    n_asked = int(last.sum())
    assert task.accuracy(wrong_eos, batch) == pytest.approx(1 - 32 / n_asked)


def test_difficulty_changes_the_examples():
    easy, hard = Copy(max_length=6), replace(Copy(max_length=6), min_length=30, max_length=40)
    assert easy.batch(64, 0)["source_mask"].sum(1).max() <= 6
    assert hard.batch(64, 0)["source_mask"].sum(1).min() >= 30
