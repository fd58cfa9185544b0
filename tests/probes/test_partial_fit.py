"""Rows that come in parts: the result is that of all rows at once; and rows in a file, which memory does not hold."""

import threading
import time

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from probes import LDAProbe, MassMeanProbe, RidgeProbe
from probes.erasure import LEACE

N, D = 500, 8
PARTS = np.array_split(np.arange(N), [3, 60, 61, 300])
PROBES = [MassMeanProbe(), LDAProbe(), LDAProbe(0.0)]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D)) @ rng.standard_normal((D, D)) + 100


@pytest.fixture(scope="module")
def classes(rows):
    return ((rows - 100) @ np.random.default_rng(1).standard_normal((D, 3))).argmax(1)


def in_parts(probe, x, y, weight=None, **about):
    for part in PARTS:
        weights = {} if weight is None else {"sample_weight": weight[part]}
        probe.partial_fit(x[part], y[part], **weights, **about)
    return probe


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("labels", ["two", "names", "targets"])
@pytest.mark.parametrize("weighted", [False, True])
def test_parts_give_what_all_rows_at_once_give(rows, classes, probe, labels, weighted):
    y = {
        "two": classes == 1,
        "names": np.array(["a", "b", "c"])[classes],
        "targets": np.stack([classes == k for k in range(3)], 1),
    }[labels]
    weight = np.random.default_rng(2).uniform(0.1, 2, N) if weighted else None
    whole = type(probe)(**probe.get_params()).fit(rows, y, weight)
    parts = in_parts(type(probe)(**probe.get_params()), rows, y, weight, classes=np.unique(y))
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-6)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-6)
    np.testing.assert_array_equal(parts.predict(rows), whole.predict(rows))
    more = type(probe)(**probe.get_params()).fit(rows[:250], y[:250], None if weight is None else weight[:250])
    more.partial_fit(rows[250:], y[250:], sample_weight=None if weight is None else weight[250:])
    np.testing.assert_allclose(more.coef_, whole.coef_, rtol=1e-6)


def test_tensors_stay_tensors_and_parts_in_single_precision_stay_single(classes):
    # Of rows that vary alike in all directions: else rounding grows with their condition number, machine by machine.
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(0)) + 100
    y = torch.from_numpy(classes)
    found = in_parts(LDAProbe(), x, y, classes=[0, 1, 2])
    assert found.coef_.dtype == torch.float32
    assert isinstance(found.predict(x), torch.Tensor)
    np.testing.assert_allclose(found.coef_, LDAProbe().fit(x, y).coef_, rtol=1e-4)


@pytest.mark.parametrize("probe", [MassMeanProbe(), LDAProbe()])
def test_classes_may_come_one_after_the_other_and_none_is_forgotten(rows, classes, probe):
    order = np.argsort(classes)
    x, y = rows[order], classes[order]
    probe = type(probe)().partial_fit(x[:9], y[:9], classes=[0, 1, 2])
    with pytest.raises(NotFittedError, match="needs rows of every class"):
        probe.predict(x)
    probe.partial_fit(x[9:], y[9:])
    np.testing.assert_allclose(probe.coef_, type(probe)().fit(rows, classes).coef_, rtol=1e-6)
    assert type(probe)().fit(rows, classes).fit(rows[:50], classes[:50] > 0).coef_.shape == (1, D)  # fit begins anew


def test_wrong_parts_are_refused_and_change_nothing(rows, classes):
    probe = LDAProbe().partial_fit(rows, classes)
    before = probe.coef_.copy()
    for x, y, named, message in (
        (rows, classes + 1, None, r"y has 3, which is none of the classes \[0, 1, 2\]: name all"),
        (rows, classes, [0, 1, 5], r"classes are \[0, 1, 5\], and were \[0, 1, 2\] in the first call"),
        (rows, np.stack([classes > 0] * 2, 1), None, "y has 2 targets, and the first rows had 1"),
        (rows[:, 1:], classes, None, "X has 7 features, but LDAProbe is expecting 8"),
    ):
        with pytest.raises(ValueError, match=message):
            probe.partial_fit(x, y, classes=named)
    np.testing.assert_array_equal(probe.partial_fit(rows[:0:-1], classes[:0:-1]).classes_, [0, 1, 2])
    np.testing.assert_allclose(probe.partial_fit(rows[:1], classes[:1]).coef_, before, rtol=1e-6)  # all rows twice
    with pytest.raises(ValueError, match=r"classes are \[1\]: there must be two or more"):
        LDAProbe().partial_fit(rows, classes, classes=[1])
    with pytest.raises(ValueError, match="y has one class only"):
        MassMeanProbe().partial_fit(rows, classes * 0)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_targets", [None, 3])
def test_a_regression_in_parts_is_that_of_all_rows(rows, intercept, weighted, n_targets):
    rng = np.random.default_rng(3)
    y = rng.standard_normal(N) if n_targets is None else rng.normal([0, 5, -5], 1, (N, n_targets))
    weight = rng.uniform(0.1, 2, N) if weighted else None
    whole = RidgeProbe([3.0], fit_intercept=intercept).fit(rows, y, weight)
    parts = in_parts(RidgeProbe([3.0], fit_intercept=intercept), rows, y, weight)
    for name in ("coef_", "intercept_", "alpha_"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(parts.predict(rows), whole.predict(rows), rtol=1e-6, atol=1e-9)
    with pytest.warns(UserWarning, match="fit keeps no sums to add to"):
        whole.partial_fit(rows[:100], y[:100])
    first = RidgeProbe([3.0], fit_intercept=intercept).fit(rows[:100], y[:100])
    np.testing.assert_allclose(whole.coef_, first.coef_, rtol=1e-6, atol=1e-9)
    assert not hasattr(whole, "loo_error_")
    assert not hasattr(parts.fit(rows, y), "moments_")


def test_a_penalty_cannot_be_chosen_in_parts(rows):
    assert hasattr(RidgeProbe([1.0]), "partial_fit")
    assert not hasattr(RidgeProbe(), "partial_fit")
    with pytest.raises(AttributeError) as raised:
        _ = RidgeProbe().partial_fit
    assert "cannot choose among several alphas" in str(raised.value.__cause__)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """77 MB of half precision in a file, 307 MB as doubles."""
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    x = np.lib.format.open_memmap(path, "w+", np.float16, (150_000, 256))
    part = np.random.default_rng(0).standard_normal((15_000, 256)).astype(np.float16)
    for start in range(0, len(x), len(part)):
        x[start : start + len(part)] = part
    x.flush()
    return np.load(path, mmap_mode="r")


def anonymous_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


@pytest.mark.parametrize(
    ("probe", "labels"), [(MassMeanProbe(), True), (LDAProbe(), True), (RidgeProbe(), False), (LEACE(), True)]
)
def test_rows_in_a_file_are_never_held_in_memory(large, probe, labels):
    y = np.asarray(large[:, 0] > 0) if labels else np.asarray(large[:, 0], np.float32)
    probe.fit(large[:20_000], y[:20_000])  # libraries that are loaded, and their buffers
    seen, done = [anonymous_bytes()], threading.Event()

    def watch():
        while not done.is_set():
            seen.append(anonymous_bytes())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        probe.fit(large, y)
    finally:
        done.set()
        watcher.join()
    assert len(seen) > 10
    assert max(seen) - seen[0] < large.nbytes / 2
