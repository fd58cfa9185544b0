"""`StructuralProbe`: a linear map under which distances between words are those of a tree, or lengths their depths."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse.csgraph import minimum_spanning_tree
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from probes.base import Array, Probe, as_numpy
from probes.gradient_training import GradientTrained
from probes.rows import returned

KINDS = ("distance", "depth")
# Sentences of these lengths are averaged, length by length, in the paper's correlation.
LENGTHS = range(5, 51)


@dataclass(eq=False, repr=False)
class StructuralProbe(GradientTrained, Probe):
    """`‖B (hᵢ − hⱼ)‖²` for the number of edges between two words, or `‖B hᵢ‖²` for the depth of one.

    Hewitt and Manning, "A structural probe for finding syntax in word representations" (2019). The loss is theirs:
    the absolute error, over the pairs of a sentence divided by the square of its length (over its words by the
    length), averaged over sentences.

    Args:
        rank: rows of B; as many as the words have dimensions for None.
        kind: `distance` or `depth`.
        lr, weight_decay, batch_size, max_epochs, patience, random_state: of the training, see `GradientTrained`; the
            examples are sentences.

    Attributes:
        B_: [rank, d].
        losses_: on the held-out sentences, after each epoch.
    """

    rank: int | None = None
    _: KW_ONLY
    kind: str = "distance"
    weight_decay: float = 0.0
    batch_size: int = 32

    def fit(self, X: Sequence[Array], y: Sequence[Array]) -> "StructuralProbe":
        """Fit to sentences: `X` a sequence of [words, d], `y` of [words, words] distances or [words] depths.

        Raises `ValueError` where they do not fit together, naming the sentence.
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}: choose distance or depth.")
        sentences = self._sentences(X)
        truths = [torch.from_numpy(as_numpy(truth).astype(np.float32)) for truth in y]
        self._refuse_unfit(sentences, truths)
        self.n_features_in_ = d = sentences[0].shape[1]
        rank = d if self.rank is None else self.rank
        if not 1 <= rank <= d:
            raise ValueError(f"rank is {self.rank}: it must lie between 1 and the {d} dimensions of a word.")
        words, mask = _padded(sentences)
        truth = _padded_truths(truths, mask.shape[1]).to(words.device)
        generator = torch.Generator().manual_seed(self.random_state)
        linear = nn.Linear(d, rank, bias=False)
        with torch.no_grad():
            linear.weight.copy_((torch.rand(rank, d, generator=generator) - 0.5) * 0.1)
        depth = self.kind == "depth"

        def loss(module: nn.Module, chosen: Tensor) -> Tensor:
            real = mask[chosen]
            found = _lengths(module(words[chosen])) if depth else _distances(module(words[chosen]))
            counted = real if depth else real[:, :, None] & real[:, None, :]
            error = ((found - truth[chosen]).abs() * counted).flatten(1).sum(1)
            n = real.sum(1)
            return (error / (n if depth else n.square())).mean()

        self._train(linear.to(words.device), loss, len(sentences))
        self.B_ = returned(linear.weight.detach(), X[0])
        return self

    @torch.no_grad()
    def predict(self, X: Sequence[Array]) -> list[Array]:
        """Of each sentence the squared distances [words, words], or the squared lengths [words]."""
        check_is_fitted(self)
        B = torch.as_tensor(self.B_)
        found = []
        for sentence, source in zip(self._sentences(X), X, strict=True):
            h = sentence @ B.T.to(sentence)
            found.append(returned(_lengths(h) if self.kind == "depth" else _distances(h[None])[0], source))
        return found

    def score(self, X: Sequence[Array], y: Sequence[Array]) -> float:
        """Of distances the undirected unlabelled attachment score; of depths the share of sentences with their root."""
        predicted = self.predict(X)
        if self.kind == "depth":
            hits = [as_numpy(p).argmin() == as_numpy(t).argmin() for p, t in zip(predicted, y, strict=True)]
            return float(np.mean(hits))
        return uuas(predicted, y)

    def _sentences(self, X: Sequence[Array]) -> list[Float[Tensor, "words d"]]:
        if len(X) == 0:
            raise ValueError("there are no sentences to read.")
        found = [torch.as_tensor(x).detach().float() for x in X]
        for i, x in enumerate(found):
            if x.ndim != 2 or x.shape[1] != found[0].shape[1]:
                raise ValueError(
                    f"sentence {i} has shape {tuple(x.shape)}: each must be [words, {found[0].shape[-1]}]."
                )
            if not torch.isfinite(x).all():
                raise ValueError(f"sentence {i} contains NaN or infinity.")
        if hasattr(self, "n_features_in_") and found[0].shape[1] != self.n_features_in_ and hasattr(self, "B_"):
            raise ValueError(
                f"X has {found[0].shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input."
            )
        return found

    def _refuse_unfit(self, sentences: list[Tensor], truths: list[Tensor]) -> None:
        if len(sentences) != len(truths):
            raise ValueError(f"there are {len(sentences)} sentences and {len(truths)} trees: each needs its own.")
        for i, (x, truth) in enumerate(zip(sentences, truths, strict=True)):
            wanted = (len(x),) if self.kind == "depth" else (len(x), len(x))
            if tuple(truth.shape) != wanted or not torch.isfinite(truth).all():
                raise ValueError(
                    f"sentence {i} has {len(x)} words and a truth of shape {tuple(truth.shape)}: it must be {wanted}, "
                    "and finite."
                )


def uuas(predicted: Sequence[Array], true: Sequence[Array]) -> float:
    """The share of the true trees' edges that are in the minimum spanning trees of predicted distances.

    Args:
        predicted: of each sentence the distances [words, words].
        true: the same: 1 where two words are joined.
    """
    hits = edges = 0
    for guess, truth in zip(predicted, true, strict=True):
        joined = as_numpy(truth) == 1
        found = _tree(as_numpy(guess))
        hits += int((found & joined).sum())
        edges += int(np.triu(joined | joined.T, 1).sum())
    return hits / max(1, edges)


def distance_spearman(predicted: Sequence[Array], true: Sequence[Array]) -> float:
    """Spearman's correlation of each word's distances: the mean over sentences of a length, then over lengths 5–50."""
    from scipy.stats import spearmanr  # slow to import

    by_length: dict[int, list[float]] = {}
    for guess, truth in zip(predicted, true, strict=True):
        if (n := len(guess)) in LENGTHS:
            pairs = zip(as_numpy(guess), as_numpy(truth), strict=True)
            by_length.setdefault(n, []).extend(spearmanr(a, b).statistic for a, b in pairs)
    return float(np.mean([np.mean(found) for found in by_length.values()])) if by_length else float("nan")


def _tree(distances: np.ndarray) -> Bool[np.ndarray, "words words"]:
    """The edges of the minimum spanning tree, each once, above the diagonal."""
    # A distance of zero would be no edge for SciPy.
    upper = np.triu(distances - distances.min() + 1.0, 1)
    tree = minimum_spanning_tree(upper).toarray() > 0
    return np.triu(tree | tree.T, 1)


def _lengths(h: Float[Tensor, "*sentence word rank"]) -> Float[Tensor, "*sentence word"]:
    return h.square().sum(-1)


def _distances(h: Float[Tensor, "sentence word rank"]) -> Float[Tensor, "sentence word word"]:
    return (h[:, :, None] - h[:, None, :]).square().sum(-1)


def _padded(sentences: list[Float[Tensor, "_ d"]]) -> tuple[Float[Tensor, "n word d"], Bool[Tensor, "n word"]]:
    words = nn.utils.rnn.pad_sequence(sentences, batch_first=True)
    sizes = torch.tensor([len(sentence) for sentence in sentences], device=words.device)
    return words, torch.arange(words.shape[1], device=words.device) < sizes[:, None]


def _padded_truths(truths: list[Tensor], n_words: int) -> Float[Tensor, " sentence *word"]:
    padded = torch.zeros(len(truths), *[n_words] * truths[0].ndim)
    for row, truth in zip(padded, truths, strict=True):
        row[tuple(slice(0, size) for size in truth.shape)] = truth
    return padded
