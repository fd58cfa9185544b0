"""Token ids in words."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from models.dataset import Dataset

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


# What stands at every position of sequences that are of vectors: there, a set of tokens is the name "always".
ANY_STEP = "any step"


def dataset_words(dataset: Dataset) -> list[str]:
    """What each token id of a dataset is called; one word for every step of sequences that are of vectors."""
    if dataset.tokens.is_floating_point():
        return [ANY_STEP]
    return token_strings(dataset.tokenizer, range(dataset.d_vocab))


def token_strings(tokenizer: Tokenizer | None, ids: Sequence[int]) -> list[str]:
    """The text of each token on its own; the number itself where there is no tokenizer.

    A piece of a multi-byte character is no text: it is given in the tokenizer's own spelling.
    """
    if tokenizer is None:
        return [str(i) for i in ids]
    texts = tokenizer.decode_batch([[i] for i in ids], skip_special_tokens=False)
    return [
        text if text and REPLACEMENT not in text else (tokenizer.id_to_token(i) or str(i))
        for i, text in zip(ids, texts, strict=True)
    ]
