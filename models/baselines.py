"""What a subject has to beat: the losses of counting words and pairs of words."""

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import coo_matrix
from torch import Tensor


def ngram_losses(
    train: tuple[Int[Tensor, "seq time"], Bool[Tensor, "seq time"]],
    test: tuple[Int[Tensor, "test_seq test_time"], Bool[Tensor, "test_seq test_time"]],
    d_vocab: int,
) -> dict[str, float]:
    """Held-out cross-entropy, in nats a token, of unigram and bigram counts.

    Unigrams are smoothed by adding one; bigrams are interpolated with them as Witten and Bell (1991) do:
    p(w|v) = (c(v,w) + T(v) p(w)) / (c(v) + T(v)), T(v) being the number of kinds of token seen after v.
    The token after BOS is predicted too; BOS itself and padding never are.
    """
    before, after = _pairs(*train)
    counts = coo_matrix((np.ones(len(before)), (before, after)), shape=(d_vocab, d_vocab)).tocsr()
    unigram = (np.bincount(after, minlength=d_vocab) + 1.0) / (len(after) + d_vocab)
    total, kinds = np.asarray(counts.sum(1)).ravel(), np.diff(counts.indptr)

    before, after = _pairs(*test)
    seen = np.asarray(counts[before, after]).ravel()
    smoothing = np.maximum(kinds[before], 1)  # a token never followed by anything falls back on unigrams
    bigram = (seen + smoothing * unigram[after]) / (total[before] + smoothing)
    return {
        "unigram_loss": float(-np.log(unigram[after]).mean()),
        "bigram_loss": float(-np.log(bigram).mean()),
    }


def _pairs(tokens: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    real = mask[:, 1:].numpy()
    return tokens[:, :-1].numpy()[real], tokens[:, 1:].numpy()[real]
