"""A network on the mean of a text's word vectors."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ablation_suite.argument_checks import check_integer
from lit_models.activations import Activation
from lit_models.classifier import Classifier
from lit_models.embedding import make_word_vectors
from lit_models.fully_connected import FullyConnected
from lit_models.initialisation import Init
from lit_models.input_kinds import PADDING, InputKind, check_text_shape


class MeanEmbedding(FullyConnected, Classifier):
    """An `MLP` on the mean of a text's word vectors, for token ids: the deep averaging network of Iyyer et al. 2015.

    Without hidden layers it is linear in the mean, as fastText (Joulin et al. 2017). Padding is ignored, so the logits
    do not depend on the fixed length; the mean of a text without tokens is zero. Parameters are named
    `layers.features.embedding.weight`, `layers.head.linear1.weight`, `layers.head.output.weight`.

    Args:
        embedding_size: the dimension of word vectors. Their initial values are from U(-0.25, 0.25) for every `init`.
        hidden: the number of units of each hidden layer; [] leaves only the output layer.
        activation: see `make_activation`.
        init: initial values of the linear layers' weights and biases, see `initialise`; PyTorch's by default.
        dropout: the probability with which a hidden unit is set to zero in training, 0 <= dropout < 1; 0 builds no
            dropout layer.
        batch_norm: whether to normalise each hidden layer over the batch, before the activation.
        vocabulary_size: the number of token ids, padding included; None takes the data module's.
        options: optimizer, lr_scheduler, head, loss, l1, l2, input_shape and num_classes, see `Classifier`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    Iyyer et al. 2015, Deep unordered composition rivals syntactic methods for text classification; Joulin et al. 2017,
    Bag of tricks for efficient text classification.

    >>> import torch
    >>> model = MeanEmbedding(hidden=[], input_shape=(4,), num_classes=2, vocabulary_size=100)
    >>> model.layers
    Sequential(
      (features): MeanVector(
        (embedding): Embedding(100, 50)
      )
      (head): Sequential(
        (flatten): Flatten(start_dim=1, end_dim=-1)
        (output): Linear(in_features=50, out_features=2, bias=True)
      )
    )
    >>> short, long = torch.tensor([[7, 2]]), torch.tensor([[7, 2, 0, 0]])
    >>> torch.equal(model(short), model(long))
    True
    """

    input_kind: ClassVar[InputKind] = "tokens"

    def __init__(
        self,
        embedding_size: int = 50,
        *,
        hidden: Sequence[int] = (128,),
        activation: Activation = "relu",
        init: Init = "default",
        dropout: float = 0.0,
        batch_norm: bool = False,
        vocabulary_size: int | None = None,
        **options: Any,
    ) -> None:
        check_integer(type(self).__name__, "embedding_size", embedding_size)
        self.embedding_size = embedding_size
        super().__init__(
            hidden,
            activation=activation,
            init=init,
            dropout=dropout,
            batch_norm=batch_norm,
            vocabulary_size=vocabulary_size,
            **options,
        )

    def make_layers(self, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
        """Return the mean of word vectors and an MLP's layers: (B, length) -> (B, num_outputs)."""
        check_text_shape(type(self).__name__, input_shape)
        features = MeanVector(self.hparams["vocabulary_size"], self.embedding_size)
        head = super().make_layers((self.embedding_size,), num_outputs)
        return nn.Sequential(OrderedDict(features=features, head=head))


class MeanVector(nn.Module):
    """Mean of the vectors of a text's tokens without padding: (B, L) -> (B, E); zero for a text without tokens.

    Args:
        vocabulary_size: the number of token ids.
        embedding_size: E, the dimension of the vectors.

    >>> import torch
    >>> mean = MeanVector(10, 3)
    >>> tokens = torch.tensor([[4, 4, 0, 0], [0, 0, 0, 0]])
    >>> torch.equal(mean(tokens), torch.stack([mean.embedding.weight[4], torch.zeros(3)]))
    True
    """

    def __init__(self, vocabulary_size: int, embedding_size: int) -> None:
        super().__init__()
        self.embedding = make_word_vectors(vocabulary_size, embedding_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the mean vectors. tokens: (B, L), int64 -> (B, E)."""
        vectors = self.embedding(tokens)
        counts = (tokens != PADDING).to(vectors.dtype)
        total: Tensor = (counts.unsqueeze(1) @ vectors).squeeze(1)
        return total / counts.sum(dim=1, keepdim=True).clamp(min=1)
