"""Scores of heads, on patterns and weights whose score is known."""

import pytest
import torch

from models import Transformer, TransformerConfig
from models.tasks.repeated_sequences import RepeatedSequences
from workbench.reproductions import head_scores as scores


def attending_to(source, n_keys):
    """A pattern of one head that puts everything on one key."""
    return torch.nn.functional.one_hot(torch.as_tensor(source), n_keys)[:, None].float()


TOKENS = torch.tensor([[0, 5, 6, 7, 5, 6, 5, 8]])


def test_a_query_is_matched_to_what_followed_its_own_token_before():
    matched = scores.after_earlier_occurrences(TOKENS)[0]
    assert matched.nonzero().tolist() == [[4, 2], [5, 3], [6, 2], [6, 5]]


def test_an_ideal_induction_head_scores_1_and_an_even_one_its_share():
    nearest = attending_to([[0, 0, 0, 0, 2, 3, 5, 0]], 8)
    farthest = attending_to([[0, 0, 0, 0, 2, 3, 2, 0]], 8)
    one_early = attending_to([[0, 0, 0, 0, 1, 2, 4, 0]], 8)
    even = torch.full((1, 1, 8, 8), 1 / 8)
    found = scores.prefix_matching_scores(torch.cat([nearest, farthest, one_early, even], 1), TOKENS)
    assert found.tolist() == pytest.approx([1, 1, 0, 4 / 3 / 8])


def test_an_ideal_previous_token_head_scores_1():
    ideal = attending_to([[0, 0, 1, 2, 3, 4, 5, 6]], 8)
    duplicate = attending_to([[0, 0, 0, 0, 1, 2, 4, 0]], 8)
    assert scores.previous_token_scores(torch.cat([ideal, duplicate], 1)).tolist() == [1, pytest.approx(1 / 7)]


def test_in_the_tasks_repeat_it_is_among_others_the_position_that_the_label_names():
    data = RepeatedSequences().dataset(20)
    matched = scores.after_earlier_occurrences(data.tokens)
    source = torch.tensor(data.labels["induction_source"].fill_null(-1).to_pylist()).view(20, -1)
    seq, query = (source >= 0).nonzero(as_tuple=True)
    assert len(seq)
    assert matched[seq, query, source[seq, query]].all()
    assert (matched.any(-1) == (source >= 0)).all()


def test_without_a_repeated_token_there_is_nothing_to_match():
    with pytest.raises(ValueError, match="no query"):
        scores.prefix_matching_scores(torch.full((1, 1, 3, 3), 1 / 3), torch.tensor([[0, 1, 2]]))


def small_model():
    return Transformer(
        TransformerConfig(
            n_layers=2, d_model=12, n_heads=3, d_head=4, n_ctx=8, d_vocab=9, attn_only=True, normalization_type=None
        )
    )


@torch.no_grad()
def test_copying_is_read_off_the_eigenvalues_of_the_full_circuit():
    model = small_model()
    found = scores.copying_scores(model)
    whole = torch.linalg.eigvals((model.W_E @ model.OV.AB[1, 2] @ model.W_U).double())
    assert found[1, 2] == pytest.approx(float(whole.real.sum() / whole.abs().sum()), abs=1e-5)
    # The head that writes what it reads, over an embedding that is its own unembedding.
    model.unembed.W_U.copy_(model.W_E.T)
    for sign in (1, -1):
        model.blocks[0].attn.W_O[0] = sign * model.blocks[0].attn.W_V[0].T
        assert scores.copying_scores(model)[0, 0] == pytest.approx(sign, abs=1e-6)


@torch.no_grad()
def test_keys_that_read_just_what_a_head_writes_compose_wholly():
    model = small_model()
    first, second = model.blocks[0].attn, model.blocks[1].attn
    eye = torch.eye(12)
    first.W_V[0], first.W_O[0] = eye[:, :4], eye[:4]  # copies coordinates 0 to 3
    second.W_K[1], second.W_Q[1] = eye[:, :4], eye[:, 4:8]  # keys read these
    second.W_K[2], second.W_Q[2] = eye[:, 4:8], eye[:, :4]  # queries do
    found = scores.k_composition(model, 0, 1)
    assert found.shape == (3, 3)
    # Two orthogonal projections of rank 4 that agree: ‖P‖ / ‖P‖² = 1/2.
    assert found[0, 1] == pytest.approx(1 / 2)
    assert found[0, 2] == pytest.approx(0)
    factors = (model.OV[0, 1], model.QK[1, 0].T)
    want = factors[0].AB @ factors[1].AB
    assert found[1, 0] == pytest.approx(float(want.norm() / factors[0].norm() / factors[1].norm()), abs=1e-5)


def test_random_matrices_compose_by_their_rank_alone():
    drawn = scores.random_composition(64, 16, n=50)
    # E ‖LR‖² / (‖L‖² ‖R‖²) = 1/d for independent isotropic L and R.
    assert drawn.square().mean().sqrt() == pytest.approx(64**-0.5, rel=0.02)
    assert torch.equal(drawn, scores.random_composition(64, 16, n=50))
