"""Word vectors, and where they start."""

from torch import nn

SPREAD = 0.25


def word_vectors(vocabulary_size: int, embedding_size: int) -> nn.Embedding:
    """An embedding that starts from U(-0.25, 0.25), as in the code of Kim 2014 (arXiv:1408.5882).

    Torch's own start, N(0, 1), is so large that a network for a thousand texts hardly moves it: on restaurant reviews
    the mean embedding then got 67 % of a test fold right, and 80 % from here. The draws are from torch's global
    generator.

    Args:
        vocabulary_size: the number of token ids, padding included.
        embedding_size: the numbers in a vector.

    >>> vectors = word_vectors(1000, 50).weight
    >>> vectors.shape, bool(vectors.abs().max() <= 0.25)
    (torch.Size([1000, 50]), True)
    """
    embedding = nn.Embedding(vocabulary_size, embedding_size)
    nn.init.uniform_(embedding.weight, -SPREAD, SPREAD)
    return embedding
