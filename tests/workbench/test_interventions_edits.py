"""Directions and edits of rows: identities that must hold, oracles by hand, and what a control keeps."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

from probes import CCSProbe, LDAProbe, LogisticProbe, MassMeanProbe, MLPProbe, RidgeProbe, SparseProbe
from probes.erasure import INLP, LEACE, Eraser, MeanProjection
from workbench.interventions import (
    Subspace,
    add,
    along_random,
    erase,
    project_out,
    random_subspace,
    set_to,
    swap,
)

D = 6


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def x(rng):
    return torch.randn(40, D, generator=rng, dtype=torch.float64) + 1


@pytest.fixture
def labels(x):
    return (x[:, 0] + 0.5 * x[:, 1] > 1.5).long()


@pytest.fixture
def plane(rng):
    return Subspace.along(torch.randn(2, D, generator=rng))


def all_edits(subspace):
    edits = [add(subspace, 1.5), set_to(subspace, -2.0), swap(subspace), project_out(subspace)]
    return [*edits, project_out(subspace, torch.arange(float(D)))]


def test_a_vector_s_coordinate_is_a_multiple_of_itself():
    line = Subspace.along(torch.tensor([3.0, 4.0]))
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-6.0, -8.0], [4.0, -3.0]])
    torch.testing.assert_close(line.coordinates(rows), torch.tensor([[1.0], [0.0], [-2.0], [0.0]]))
    torch.testing.assert_close(add(line, 2.0)(rows), rows + torch.tensor([6.0, 8.0]))
    torch.testing.assert_close(set_to(line, 0.5)(rows)[0], torch.tensor([1.5, 2.0]))
    torch.testing.assert_close(swap(line)(rows)[0], torch.tensor([-3.0, -4.0]))
    torch.testing.assert_close(project_out(line)(rows)[3], rows[3])


@pytest.mark.parametrize("probe", [LogisticProbe(), MassMeanProbe(), LDAProbe(), SparseProbe(2), LogisticRegression()])
def test_a_probe_s_coordinate_is_what_it_says_before_an_edit_and_after(probe, x, labels):
    probe.fit(x.numpy(), labels.numpy())
    line = Subspace.of_probe(probe)

    def says(rows):
        return torch.as_tensor(probe.decision_function(rows.numpy()))

    torch.testing.assert_close(line.coordinates(x)[:, 0], says(x))
    torch.testing.assert_close(says(add(line, 0.7)(x)), says(x) + 0.7)
    torch.testing.assert_close(says(set_to(line, -3.0)(x)), torch.full((40,), -3.0, dtype=torch.float64))
    torch.testing.assert_close(says(swap(line)(x)), -says(x))
    assert (probe.predict(swap(line)(x).numpy()) != probe.predict(x.numpy())).all()
    torch.testing.assert_close(says(project_out(line)(x)), torch.tensor(probe.intercept_).expand(40))


def test_a_regression_s_coordinate_is_its_number_whatever_the_shape_of_its_coefficients(x):
    y = (x @ torch.arange(float(D), dtype=torch.float64) + 3).numpy()
    for probe in (RidgeProbe().fit(x.numpy(), y), LinearRegression().fit(x.numpy(), y)):
        torch.testing.assert_close(
            Subspace.of_probe(probe).coordinates(x)[:, 0], torch.from_numpy(probe.predict(x.numpy()))
        )
    many = RidgeProbe().fit(x, torch.stack([x[:, 0], x[:, 3] + 1], 1))
    torch.testing.assert_close(Subspace.of_probe(many, target=1).coordinates(x)[:, 0], many.predict(x)[:, 1])


def test_moving_along_a_probe_s_coefficients_is_the_smallest_change_that_is_read_so(x, labels, rng):
    line = Subspace.of_probe(LogisticProbe().fit(x, labels))
    smallest = (add(line, 1.0)(x) - x).norm(dim=1)
    for _ in range(5):
        other = torch.randn(D, generator=rng, dtype=torch.float64)
        moved = other / (line.read @ other)
        assert moved.norm() > smallest[0]


def test_between_two_means_the_boundary_is_midway(x, labels):
    first, second = x[labels == 0].mean(0), x[labels == 1].mean(0)
    line = Subspace.between(first, second)
    torch.testing.assert_close(
        line.coordinates(torch.stack([first, (first + second) / 2, second]))[:, 0].tolist(), [-0.5, 0.0, 0.5]
    )
    torch.testing.assert_close(add(line, 1.0)(first[None])[0], second)
    torch.testing.assert_close(swap(line)(first[None])[0], second)
    probe = MassMeanProbe().fit(x, labels)
    rows = swap(line)(x)
    assert (probe.predict(rows) == 1 - probe.predict(x)).all()


def test_every_edit_leaves_what_is_orthogonal_to_its_directions(x, plane):
    away = torch.linalg.svd(plane.write).Vh[2:]  # orthogonal to what an edit of these can add
    for edit in all_edits(plane):
        after = edit(x)
        torch.testing.assert_close(after @ away.T, x @ away.T)
        assert (after - x).norm() > 0.1


def test_adding_nothing_changes_nothing_not_even_the_last_bit(x, plane):
    for rows in (x, x.float(), x.to(torch.bfloat16)):
        assert torch.equal(add(plane, 0.0)(rows), rows)


def test_what_was_taken_out_or_set_reads_the_same_of_every_row(x, plane):
    centre = x.mean(0)
    for edit, expected in (
        (project_out(plane), torch.zeros(2)),
        (project_out(plane, centre), plane.coordinates(centre)),
        (set_to(plane, [2.0, -1.0]), torch.tensor([2.0, -1.0])),
    ):
        read = plane.coordinates(edit(x))
        torch.testing.assert_close(read, expected.to(read).expand(40, 2))
        torch.testing.assert_close(edit(edit(x)), edit(x))  # and a second time does nothing
    basis = torch.linalg.qr(plane.write.T).Q
    torch.testing.assert_close(project_out(plane)(x), x - x @ basis @ basis.T)


def test_swapping_twice_is_not_swapping_and_adding_undoes_adding(x, plane):
    torch.testing.assert_close(swap(plane)(swap(plane)(x)), x)
    torch.testing.assert_close(add(plane, [-1.0, 3.0])(add(plane, [1.0, -3.0])(x)), x)


@pytest.mark.parametrize("estimator", [LEACE(), MeanProjection(), INLP(n_rounds=2)])
def test_erasing_is_what_the_eraser_does(estimator, x, labels):
    eraser = estimator.fit(x, labels).eraser_
    edit = erase(eraser)
    torch.testing.assert_close(edit(x), eraser(x))
    torch.testing.assert_close(edit(edit(x)), edit(x))


def test_the_pattern_is_how_rows_differ_where_the_coordinate_does(rng):
    """Two numbers that share noise: the regression reads their difference, but only the first one holds the signal."""
    signal, noise = torch.randn(2, 500, generator=rng, dtype=torch.float64)
    x = torch.stack([signal + noise, noise], 1)
    line = Subspace.of_probe(LinearRegression().fit(x.numpy(), signal.numpy()))
    torch.testing.assert_close(line.read, torch.tensor([[1.0, -1.0]], dtype=torch.float64))
    pattern = line.along_pattern(x)
    torch.testing.assert_close(pattern.coordinates(add(pattern, 1.0)(x)), line.coordinates(x) + 1)
    c = line.coordinates(x)[:, 0].numpy()
    slopes = [np.polyfit(c, column, 1)[0] for column in x.T.numpy()]
    np.testing.assert_allclose(pattern.write[0].numpy(), slopes)
    np.testing.assert_allclose(slopes, [1, 0], atol=0.15)


def test_gradients_are_those_of_the_affine_map(x, plane):
    rows = x.clone().requires_grad_()
    weight = torch.randn(D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (project_out(plane)(rows) @ weight).sum().backward()
    expected = project_out(plane)(weight[None])  # an orthogonal projection is its own transpose
    torch.testing.assert_close(rows.grad, expected.expand(40, D))


def test_a_random_direction_moves_every_row_as_far_but_elsewhere(x, plane, labels):
    for edit in (*all_edits(plane), erase(LEACE().fit(x, labels).eraser_)):
        far = (edit(x) - x).norm(dim=1)
        controls = [along_random(edit, seed) for seed in range(3)]
        for control in controls:
            torch.testing.assert_close((control(x) - x).norm(dim=1), far)
        moves = [(control(x) - x)[0] / far[0] for control in (edit, *controls)]
        assert (torch.stack(moves) @ torch.stack(moves).T - torch.eye(4)).abs().max() < 0.98
        assert torch.equal(along_random(edit, 1)(x), controls[1](x))


def test_an_orthogonal_one_is_not_read(x, plane):
    control = along_random(add(plane, 2.0), 0, orthogonal_to=plane)
    torch.testing.assert_close(plane.coordinates(control(x)), plane.coordinates(x))
    assert (control(x) - x).norm() > 1


def test_random_directions_favour_none():
    """Squared cosines with a fixed direction average 1/d."""
    edit = add(Subspace.along(torch.eye(D)[0]), 1.0)
    moves = torch.stack([along_random(edit, seed)(torch.zeros(1, D))[0] for seed in range(600)])
    torch.testing.assert_close(moves.square().mean(0), torch.full((D,), 1 / D), atol=0.04, rtol=0)
    torch.testing.assert_close(moves.mean(0), torch.zeros(D), atol=0.1, rtol=0)


def test_a_subspace_is_shown_by_how_many_directions_it_has():
    assert repr(Subspace.along(torch.eye(256)[:2])) == "Subspace(2 directions of 256 numbers)"


def test_a_random_subspace_of_equal_rank_is_taken_out_about_the_same_centre(x):
    y = torch.arange(40) % 3
    edit = erase(LEACE().fit(x, y).eraser_)
    control = random_subspace(edit, 0)
    assert torch.linalg.matrix_rank(x - control(x)) == torch.linalg.matrix_rank(x - edit(x), rtol=1e-8) == 2
    torch.testing.assert_close(control(control(x)), control(x))
    torch.testing.assert_close(control(x.mean(0)[None])[0], x.mean(0))
    with pytest.raises(ValueError, match="add moves rows and takes no subspace out .* along_random"):
        random_subspace(add(edit.subspace, 1.0), 0)


def test_what_cannot_be_done_is_said_in_one_sentence(x, labels):
    line = Subspace.along(torch.ones(D))
    with pytest.raises(ValueError, match="a direction is zero: it says nowhere to move"):
        Subspace.along(torch.zeros(D))
    with pytest.raises(ValueError, match="NaN or infinite values"):
        Subspace.along(torch.tensor([1.0, float("nan")]))
    with pytest.raises(ValueError, match="the 2 directions depend on each other"):
        Subspace.along(torch.ones(2, D))
    with pytest.raises(ValueError, match="a direction is zero"):
        Subspace.between(x[0], x[0])
    with pytest.raises(ValueError, match="has 3 directions: say which target is meant, 0 to 2"):
        Subspace.of_probe(LogisticProbe().fit(x, torch.arange(40) % 3))
    with pytest.raises(ValueError, match="no target 3"):
        Subspace.of_probe(LogisticProbe().fit(x, torch.arange(40) % 3), target=3)
    for probe in (MLPProbe(max_epochs=1).fit(x, labels), CCSProbe(n_starts=1).fit((x, -x))):
        with pytest.raises(ValueError, match="Probe does not read rows linearly"):
            Subspace.of_probe(probe)
    with pytest.raises(ValueError, match="the directions are of 6 numbers, but a position here has 5"):
        add(line, 1.0)(x[:, :5])
    with pytest.raises(ValueError, match="amount is inf: it must be finite"):
        add(line, float("inf"))
    with pytest.raises(ValueError, match=r"value has shape \(2,\): give one number, or 1, one a direction"):
        set_to(line, [1.0, 2.0])
    with pytest.raises(ValueError, match="they show no pattern"):
        line.along_pattern(torch.ones(4, D))
    with pytest.raises(ValueError, match="takes out no direction"):
        erase(Eraser(torch.zeros(D, 0), torch.zeros(0, D), torch.zeros(D)))
    with pytest.raises(ValueError, match="not 1 further directions among 1"):
        along_random(add(Subspace.along(torch.ones(1)), 1.0), 0, orthogonal_to=Subspace.along(torch.ones(1)))
