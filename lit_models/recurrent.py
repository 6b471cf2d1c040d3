"""A recurrent network for texts."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ablation_suite.argument_checks import check_integer
from lit_models.classifier import Classifier
from lit_models.embedding import make_word_vectors
from lit_models.initialisation import Init
from lit_models.input_kinds import PADDING, InputKind, check_text_shape
from lit_models.readout import Readout, read_out
from lit_models.recurrence import Cell, Recurrence
from lit_models.sequences import SequenceNetwork


class Recurrent(SequenceNetwork, Classifier):
    """A recurrent network for token ids: word vectors, a plain RNN, LSTM or GRU (see `Recurrence`), a linear output.

    States at padding are not used, so the logits do not depend on the fixed length; the readout of a text without
    tokens is zero. Parameters are named `layers.features.embedding.weight`, `layers.features.recurrence.weight_ih_l0`
    (as in torch), `layers.head.output.weight`.

    The readout matters for a comparison of cells. With the default, `last`, every word reaches the output only through
    the states after it, so the cell must remember, for which LSTM and GRU were designed. `mean` and `max` (Conneau et
    al. 2017, arXiv:1705.02364) connect each word directly to the output and hide much of the difference.

    Args:
        cell: rnn, lstm or gru.
        hidden_size: the units of each layer and direction.
        num_layers: the number of stacked layers.
        bidirectional: whether each layer also reads backwards; the readout is then twice as wide.
        readout: last, the state after the last word (and, backwards, after the first); mean or max, of each unit over
            the words.
        embedding_size: the dimension of word vectors. Their initial values are from U(-0.25, 0.25) for every `init`.
        init: initial values of the weights and biases of recurrent layers and output, see `initialise`; PyTorch's by
            default.
        forget_bias: initial bias of an LSTM's forget gates, the sum of bias_ih and bias_hh, set after `init`; with 1 or
            2 it remembers from the beginning (Jozefowicz et al. 2015, An empirical exploration of recurrent network
            architectures). None leaves it to `init`.
        dropout: the probability with which an output of a recurrent layer below another, or of the readout, is set to
            zero in training, 0 <= dropout < 1 (Zaremba et al. 2014, arXiv:1409.2329); 0 builds no dropout layer.
        vocabulary_size: the number of token ids, padding included; None takes the data module's.
        options: optimizer, lr_scheduler, head, loss, l1, l2, input_shape and num_classes, see `Classifier`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    >>> model = Recurrent("gru", hidden_size=16, input_shape=(4,), num_classes=2, vocabulary_size=100)
    >>> model.layers
    Sequential(
      (features): Reading(
        (embedding): Embedding(100, 100)
        (recurrence): Recurrence(
          gru, 16, num_layers=1, bidirectional=False
          (dropout): Identity()
        )
      )
      (head): Sequential(
        (output): Linear(in_features=16, out_features=2, bias=True)
      )
    )
    >>> import torch
    >>> short, long = torch.tensor([[7, 2]]), torch.tensor([[7, 2, 0, 0]])
    >>> bool((model(short) - model(long)).abs().max() < 1e-6)
    True
    """

    input_kind: ClassVar[InputKind] = "tokens"

    def __init__(
        self,
        cell: Cell = "lstm",
        *,
        hidden_size: int = 128,
        num_layers: int = 1,
        bidirectional: bool = False,
        readout: Readout = "last",
        embedding_size: int = 100,
        init: Init = "default",
        forget_bias: float | None = None,
        dropout: float = 0.0,
        vocabulary_size: int | None = None,
        **options: Any,
    ) -> None:
        check_integer(type(self).__name__, "embedding_size", embedding_size)
        self.embedding_size = embedding_size
        super().__init__(
            cell,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            readout=readout,
            init=init,
            forget_bias=forget_bias,
            dropout=dropout,
            vocabulary_size=vocabulary_size,
            **options,
        )

    def make_features(self, input_shape: Sequence[int]) -> "Reading":
        """Return word vectors, recurrent layers and readout: (B, length) -> (B, S H)."""
        check_text_shape(type(self).__name__, input_shape)
        embedding = make_word_vectors(self.hparams["vocabulary_size"], self.embedding_size)
        return Reading(embedding, self.make_recurrence(self.embedding_size), readout=self.readout)


class Reading(nn.Module):
    """Word vectors, recurrent layers and readout of a text: (B, L) -> (B, S H), S directions, H hidden units.

    Args:
        embedding: maps token ids (B, L) to word vectors (B, L, E).
        recurrence: the recurrent layers.
        readout: last, mean or max, see `Recurrent`.

    >>> import torch
    >>> reading = Reading(nn.Embedding(10, 3), Recurrence("rnn", 3, 5), readout="max")
    >>> reading(torch.tensor([[4, 4, 0, 0], [0, 0, 0, 0]])).shape
    torch.Size([2, 5])
    """

    def __init__(self, embedding: nn.Embedding, recurrence: Recurrence, *, readout: Readout) -> None:
        super().__init__()
        self.embedding = embedding
        self.recurrence = recurrence
        self.readout = readout

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the readout. tokens: (B, L), int64 -> (B, S H)."""
        is_word = tokens != PADDING
        states: Tensor = self.recurrence(self.embedding(tokens), is_word.sum(dim=1))
        return read_out(states, is_word, self.recurrence.hidden_size, self.readout)
