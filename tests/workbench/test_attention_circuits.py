"""What heads compute, from their weights: against the model's own scores, brute force and TransformerLens."""

import numpy as np
import pytest
import torch
from transformer_lens import FactoredMatrix, SVDInterpreter

from models import Recurrent, RecurrentConfig, Transformer, TransformerConfig
from models.compiled import compiled_induction
from models.hub import HubModel, HubModelConfig
from tests.hub_folders import save_hub_model
from workbench.attention.copying import copied_share, copying_scores, eigenvalue_score
from workbench.attention.head_circuits import ov_circuit, qk_circuit
from workbench.attention.head_svd import head_svd, singular_values
from workbench.attention.token_pairs import token_pairs, top_pairs
from workbench.attention.weights import percentile_of, weights_of

SHAPE = {"n_layers": 2, "d_model": 24, "n_heads": 3, "d_head": 8, "n_ctx": 12, "d_vocab": 17}


def subject(seed=0, **shape):
    """A transformer all of whose weights, gains and biases are arbitrary."""
    model = Transformer(TransformerConfig(**(SHAPE | {"attn_only": True} | shape))).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.3
            parameter.copy_(noise + 1 if name.endswith(".w") else noise)
    return model


def scores_of(model, tokens, layer=0):
    name = f"blocks.{layer}.attn.hook_attn_scores"
    return model.run_with_cache(tokens, names_filter=[name])[1][name].detach()


def test_the_full_qk_circuit_is_the_score_of_every_pair_of_tokens():
    model = subject(normalization_type=None, positional_embedding_type="none")
    tokens = torch.tensor([[3, 5, 5, 16, 0, 7]])
    circuit = qk_circuit(model, 0, 1, ends="tokens")
    assert isinstance(circuit, FactoredMatrix)
    assert (circuit.shape, circuit.mdim) == ((17, 17), 8)
    want = scores_of(model, tokens)[0, 1]
    seen = want.isfinite()
    found = circuit.AB[tokens[0]][:, tokens[0]] / 8**0.5
    assert seen.sum() == 21
    torch.testing.assert_close(found[seen].float(), want[seen], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("adjacent", [False, True])
def test_of_rotary_positions_it_is_the_score_at_a_distance(adjacent):
    rotary = {"positional_embedding_type": "rotary", "rotary_dim": 6, "rotary_adjacent_pairs": adjacent}
    model = subject(normalization_type=None, **rotary)
    tokens = torch.tensor([[3, 5, 9, 16, 0, 7]])
    want = scores_of(model, tokens)[0, 2]
    for query, key in ((0, 0), (4, 1), (5, 4)):
        circuit = qk_circuit(model, 0, 2, ends="tokens", distance=query - key).AB / 8**0.5
        assert float(circuit[tokens[0, query], tokens[0, key]]) == pytest.approx(float(want[query, key]), abs=1e-5)
    with pytest.raises(ValueError, match="distance is 12"):
        qk_circuit(model, 0, 2, distance=12)


@pytest.mark.parametrize("norm", ["LN", "RMS"])
def test_a_norms_gain_and_bias_are_in_the_circuit(norm):
    model = subject(normalization_type=norm, positional_embedding_type="none")
    weights = weights_of(model)
    tokens = torch.tensor([[3, 5, 9, 16]])
    # Each token's row, once it is divided by its length, is what the head reads of it.
    read = weights.normalised(weights.W_E[tokens[0]])
    q, k = (read @ getattr(weights, f"W_{n}")[0, 1] + getattr(weights, f"b_{n}")[0, 1] for n in "QK")
    want = scores_of(model, tokens)[0, 1]
    seen = want.isfinite()
    torch.testing.assert_close((q @ k.mT / 8**0.5)[seen], want[seen], rtol=1e-4, atol=1e-4)


def test_the_full_ov_circuit_is_what_a_head_adds_to_the_logits_of_the_tokens_it_attends_to():
    model = subject(normalization_type=None, positional_embedding_type="none", n_layers=1)
    token = torch.tensor([[11]])  # it has nothing to attend to but itself
    name = "blocks.0.attn.hook_result"
    _, cache = model.run_with_cache(token, names_filter=[name])
    added = (cache[name][0, 0, 2] - model.blocks[0].attn.b_V[2] @ model.blocks[0].attn.W_O[2]) @ model.W_U
    found = ov_circuit(model, 0, 2, ends="tokens").AB[11].float()
    torch.testing.assert_close(found, (added - added.mean()).detach(), rtol=1e-4, atol=1e-5)


def test_through_an_earlier_head_the_circuit_reads_what_that_head_wrote():
    model = subject(normalization_type=None)
    weights = weights_of(model)
    earlier = (weights.W_V[0, 2] @ weights.W_O[0, 2]).double()
    plain = qk_circuit(model, 1, 0).AB
    whole = qk_circuit(model, 1, 0, ends="tokens", key_through=(0, 2), biases=False).AB
    W_E = weights.W_E.double()
    torch.testing.assert_close(whole, W_E @ plain @ (W_E @ earlier).mT, rtol=1e-4, atol=1e-5)
    whole = ov_circuit(model, 1, 0, through=(0, 2)).AB
    torch.testing.assert_close(whole, earlier @ ov_circuit(model, 1, 0).AB, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="earlier"):
        ov_circuit(model, 0, 0, through=(0, 1))


def test_in_the_compiled_circuit_keys_through_the_previous_token_head_match_tokens_with_themselves():
    model, _ = compiled_induction(6, 8)
    matched = qk_circuit(model, 1, 0, ends="tokens", key_through=(0, 0), biases=False)
    assert torch.equal(matched.AB.argmax(1), torch.arange(6))
    assert float(eigenvalue_score(matched)) == pytest.approx(1)
    assert not qk_circuit(model, 1, 0, ends="tokens", key_through=(0, 1), biases=False).AB.any()
    copies = copying_scores(model, top=1, n_random=20).set_index(["layer", "head"])
    assert copies.loc[(1, 0), ["value", "copied"]].tolist() == pytest.approx([1, 1])
    positions = qk_circuit(model, 0, 0, ends="positions").AB
    assert positions.argmax(1).tolist() == [0, 0, 1, 2, 3, 4, 5, 6]


def test_top_pairs_are_those_of_the_whole_matrix_however_few_rows_are_there_at_a_time():
    generator = torch.Generator().manual_seed(0)
    A, B = torch.randn(40, 3, generator=generator).double(), torch.randn(3, 25, generator=generator).double()
    whole = A @ B
    want, at = whole.flatten().topk(7)
    for block in (1, 25 * 6, 10**6):
        found = top_pairs(FactoredMatrix(A, B), 7, block=block)
        assert found.value.tolist() == pytest.approx(want.tolist())
        assert (found.row * 25 + found.column).tolist() == at.tolist()
        assert (found.mean, found.deviation) == pytest.approx((float(whole.mean()), float(whole.std(correction=0))))


def test_planted_pairs_of_tokens_are_found_above_random_heads():
    model = subject(normalization_type=None, positional_embedding_type="none", d_vocab=30, d_model=40)
    attn = model.blocks[0].attn
    with torch.no_grad():
        model.embed.W_E.copy_(torch.eye(30, 40))
        for parameter in (attn.W_Q, attn.W_K, attn.b_Q, attn.b_K):
            parameter[1] = 0
        attn.W_Q[1, 4, 0], attn.W_K[1, 9, 0] = 3, 1  # 4 looks for 9
        attn.W_Q[1, 20, 1], attn.W_K[1, 2, 1] = 2, 1
    table = token_pairs(model, 0, 1, "QK", k=2, n_random=2)
    own = table[table["variant"] == "head"]
    assert list(zip(own["from_token"], own["to_token"], own["value"], strict=True)) == [(4, 9, 3), (20, 2, 2)]
    random = table[table["variant"] == "random matrices"]
    assert own["deviations"].min() > 2 * random["deviations"].max()
    assert random["seed"].tolist() == [0, 0, 1, 1]
    some = token_pairs(model, 0, 1, "QK", k=1, n_random=0, tokens=torch.tensor([2, 20, 5]))
    assert some[["from_token", "to_token"]].to_numpy().tolist() == [[20, 2]]


def test_copying_is_read_off_the_eigenvalues_of_the_full_circuit():
    model = subject(normalization_type=None)
    found = copying_scores(model, n_random=30).set_index(["layer", "head"])["value"]
    folded = model.folded()
    whole = np.linalg.eigvals((folded.W_E @ folded.OV.AB[1, 2] @ folded.W_U).detach().double().numpy())
    assert found[1, 2] == pytest.approx(whole.real.sum() / np.abs(whole).sum(), abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_head_that_writes_what_it_reads_copies_wholly_and_its_negative_not_at_all(sign):
    model = subject(normalization_type=None, d_vocab=20)
    with torch.no_grad():
        model.embed.W_E.copy_(torch.eye(20, 24) * 2)
        model.unembed.W_U.copy_(model.W_E.T)
        model.blocks[0].attn.W_V[0], model.blocks[0].attn.W_O[0] = torch.eye(24, 8), sign * torch.eye(8, 24)
    line = copying_scores(model, top=1, n_random=50).iloc[0]
    assert line["value"] == pytest.approx(sign, abs=1e-6)
    assert line["percentile"] == (100 if sign == 1 else 0)
    assert line["random_high"] < 1
    # Eight tokens are copied; those that nothing is read of raise every logit alike.
    circuit = ov_circuit(model, 0, 0, ends="tokens")
    assert torch.equal(circuit.AB[:8].argmax(1) if sign == 1 else circuit.AB[:8].argmin(1), torch.arange(8))


def test_copied_share_counts_rows_by_brute_force():
    generator = torch.Generator().manual_seed(3)
    A, B = torch.randn(23, 4, generator=generator), torch.randn(4, 23, generator=generator)
    ranks = (A @ B).argsort(1, descending=True)
    want = np.mean([i in ranks[i, :5] for i in range(23)])
    assert copied_share(FactoredMatrix(A, B), 5) == copied_share(FactoredMatrix(A, B), 5, block=1) == want


def test_equal_entries_are_copied_as_often_as_in_a_random_order():
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 4, (9, 9)).astype(float)
    orders = [(whole + 0.5 * rng.random(whole.shape)).argsort(1)[:, ::-1][:, :2] for _ in range(4000)]
    want = np.mean([[i in best[i] for i in range(9)] for best in orders])
    assert 0.02 < want < 0.98
    found = copied_share(FactoredMatrix(torch.from_numpy(whole), torch.eye(9).double()), 2)
    assert found == pytest.approx(want, abs=0.01)


def test_a_head_that_writes_nothing_copies_by_chance_and_has_no_percentile():
    model = subject(normalization_type="LN")
    with torch.no_grad():
        model.blocks[0].attn.W_O[1] = 0
    line = copying_scores(model, top=3, n_random=20).set_index(["layer", "head"]).loc[(0, 1)]
    assert line["copied"] == pytest.approx(line["chance"])
    assert np.isnan(line["value"])
    assert np.isnan(line["percentile"])
    assert np.isfinite(line["random_high"])


def test_the_percentile_of_what_is_no_number_is_none():
    draws = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert percentile_of(1.0, draws) == 37.5
    assert np.isnan(percentile_of(float("nan"), draws))
    assert np.isnan(percentile_of(1.0, torch.tensor([0.0, float("nan")])))


def test_singular_values_are_the_matrixs_and_those_of_random_ones_have_its_norm():
    model = subject(normalization_type=None)
    table = singular_values(model, 1, 2, "QK")
    want = np.linalg.svd(qk_circuit(model, 1, 2).AB.numpy(), compute_uv=False)[:8]
    assert table["value"].to_numpy() == pytest.approx(want)
    assert table["share"].sum() == pytest.approx(1)
    assert ((table["random_mean"] ** 2).sum()) == pytest.approx((want**2).sum(), rel=0.02)


def test_a_heads_directions_are_read_as_transformerlens_reads_them():
    model = subject(normalization_type=None)
    theirs = SVDInterpreter(model.folded()).get_singular_vectors("OV", 1, num_vectors=2, head_index=1)[:, 0].T
    table = head_svd(model, 1, 1, n_directions=2, k=17)
    for number in range(2):
        own = table.query("direction == @number and side == 'written' and sign == '+'").sort_values("token")["value"]
        want = theirs[number].numpy() * np.sign(theirs[number].numpy() @ own.to_numpy())
        assert own.to_numpy() == pytest.approx(want, abs=1e-5)
        assert own.abs().max() == own.max()


def test_tokens_at_both_ends_of_a_planted_direction_belong_together():
    model = subject(normalization_type=None, positional_embedding_type="none", d_vocab=30, d_model=40)
    with torch.no_grad():
        model.embed.W_E.copy_(torch.eye(30, 40))
        model.unembed.W_U.copy_(torch.eye(40, 30))
        model.blocks[1].attn.W_V[0], model.blocks[1].attn.W_O[0] = 0, 0
        model.blocks[1].attn.W_V[0, 3, 0], model.blocks[1].attn.W_V[0, 8, 0] = 2, -1
        model.blocks[1].attn.W_O[0, 0, 12], model.blocks[1].attn.W_O[0, 0, 15] = 3, -1
    table = head_svd(model, 1, 0, n_directions=1, k=1)
    found = {(line["side"], line["sign"]): line["token"] for _, line in table.iterrows()}
    assert found == {("read", "+"): 3, ("read", "−"): 8, ("written", "+"): 12, ("written", "−"): 15}
    assert (table.loc[table["sign"] == "+", "value"] > table.loc[table["sign"] == "+", "random_high"]).all()


@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_a_hub_models_circuit_is_its_own_scores(kind, tmp_path):
    model = HubModel(HubModelConfig.of(str(save_hub_model(tmp_path / "model", kind))))
    weights = weights_of(model)
    assert weights.W_Q.shape == weights.W_K.shape == (2, 4, 32, 8)
    tokens = torch.tensor([[7]])
    names = ["blocks.1.hook_resid_pre", "blocks.1.attn.hook_attn_scores", "blocks.1.attn.hook_z"]
    names = [name for name in names if name in model.hook_dict]
    assert len(names) == 3
    _, cache = model.run_with_cache(tokens, names_filter=names)
    read = weights.normalised(cache[names[0]][0, 0].detach())
    for head in range(4):  # a token and itself: nothing is turned
        q, k = (read @ getattr(weights, f"W_{n}")[1, head] + getattr(weights, f"b_{n}")[1, head] for n in "QK")
        want = float(cache[names[1]][0, head, 0, 0])
        assert float(q @ k) / 8**0.5 == pytest.approx(want, rel=1e-3, abs=1e-4)
        # Less what the norm's bias gives of values, which is left out of the circuit with b_V.
        if kind == "LlamaForCausalLM":
            torch.testing.assert_close(read @ weights.W_V[1, head], cache[names[2]][0, 0, head], rtol=1e-3, atol=1e-4)


def test_what_is_not_there_is_said_in_a_sentence():
    model = subject(normalization_type=None)
    gru = Recurrent(RecurrentConfig(cell="gru", d_vocab=5, d_model=4, n_layers=1, n_ctx=6))
    for call, words in (
        (lambda: weights_of(gru), "Recurrent has no attention heads"),
        (lambda: qk_circuit(model, 2, 0), "there is no layer 2"),
        (lambda: ov_circuit(model, 0, 3), "there is no head 3"),
        (lambda: qk_circuit(model, 0, 0, distance=1), "rotary"),
        (lambda: token_pairs(model, 0, 0, tokens=torch.tensor([17])), "ids from 0 to 16"),
        (lambda: copying_scores(model, untrained=subject(n_heads=2)), "other layers or heads"),
        (lambda: head_svd(model, 0, 0, n_directions=9), "n_directions is 9"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
