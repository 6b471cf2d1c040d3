"""A network of convolutions over the words of a text, each pooled to its maximum.

Shapes: B batch, L length, E dimension of word vectors, M maps of each width, K number of widths.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablation_suite.argument_checks import check_choice, check_integer, check_integers, check_rate
from lit_models.classifier import Classifier
from lit_models.embedding import make_word_vectors
from lit_models.initialisation import Init, initialise
from lit_models.input_kinds import PADDING, InputKind, check_text_shape


class TextConvNet(Classifier):
    """A convolutional network for sentences, for token ids: CNN-rand of Kim 2014 (arXiv:1408.5882).

    The layers are word vectors; for each width w, maps over w neighbouring words, ReLU and the maximum over time;
    dropout; a linear output. As in Kim's code, w - 1 zero vectors pad each side, so that texts shorter than w work, and
    the initial word vectors are from U(-0.25, 0.25). Unlike Kim's code, windows that contain no word of the text are
    ignored, so the logits do not depend on the fixed length; the features of a text without tokens are zero. Kim's
    limit on the norm of the output weights and his pretrained vectors are not implemented. Parameters are named
    `layers.features.embedding.weight`, `layers.features.conv1.weight` (numbered in the order of the widths),
    `layers.head.output.weight`.

    Args:
        widths: the window of each convolution, in words.
        num_maps: M, the maps of each width.
        embedding_size: E, the dimension of word vectors.
        init: initial values of the weights and biases of convolutions and output, see `initialise`; PyTorch's by
            default. It does not apply to word vectors.
        dropout: the probability with which a feature is set to zero in training, 0 <= dropout < 1; 0 builds no dropout
            layer.
        vocabulary_size: the number of token ids, padding included; None takes the data module's.
        options: optimizer, lr_scheduler, head, loss, l1, l2, input_shape and num_classes, see `Classifier`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    >>> model = TextConvNet(widths=[2, 3], num_maps=4, input_shape=(4,), num_classes=2, vocabulary_size=100)
    >>> model.layers
    Sequential(
      (features): LargestResponses(
        (embedding): Embedding(100, 300)
        (conv1): Conv1d(300, 4, kernel_size=(2,), stride=(1,), padding=(1,))
        (conv2): Conv1d(300, 4, kernel_size=(3,), stride=(1,), padding=(2,))
      )
      (dropout): Dropout(p=0.5, inplace=False)
      (head): Sequential(
        (output): Linear(in_features=8, out_features=2, bias=True)
      )
    )
    >>> short, long = torch.tensor([[7]]), torch.tensor([[7, 0, 0, 0, 0, 0, 0, 0]])
    >>> bool((model.eval()(short) - model(long)).abs().max() < 1e-5)
    True
    """

    input_kind: ClassVar[InputKind] = "tokens"

    def __init__(
        self,
        widths: Sequence[int] = (3, 4, 5),
        *,
        num_maps: int = 100,
        embedding_size: int = 300,
        init: Init = "default",
        dropout: float = 0.5,
        vocabulary_size: int | None = None,
        **options: Any,
    ) -> None:
        name = type(self).__name__
        check_integers(name, "widths", widths)
        if not widths:
            raise ValueError(f"{name}: widths is {widths!r}; accepted: a list of at least one integer")
        check_integer(name, "num_maps", num_maps)
        check_integer(name, "embedding_size", embedding_size)
        check_choice(name, "init", init, get_args(Init))
        check_rate(name, "dropout", dropout)
        self.widths, self.num_maps, self.embedding_size = widths, num_maps, embedding_size
        self.init, self.dropout = init, dropout
        super().__init__(vocabulary_size=vocabulary_size, **options)

    def make_layers(self, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
        """Return the convolutions and the linear output: (B, length) -> (B, num_outputs)."""
        check_text_shape(type(self).__name__, input_shape)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["features"] = LargestResponses(
            self.hparams["vocabulary_size"], self.embedding_size, widths=self.widths, num_maps=self.num_maps
        )
        if self.dropout > 0:
            layers["dropout"] = nn.Dropout(self.dropout)
        layers["head"] = nn.Sequential(OrderedDict(output=nn.Linear(self.num_maps * len(self.widths), num_outputs)))
        network = nn.Sequential(layers)
        initialise(network, self.init)
        return network


class LargestResponses(nn.Module):
    """Maximum over a text of each map, after ReLU: (B, L) -> (B, K M).

    The convolutions define the computation and hold its weights, but are not called. A convolution over time is a sum
    of products with shifted words; one matrix product of all words with the weights at all offsets of all widths gives
    all terms. This is faster for training on a CPU, and becomes a batched product under `vmap`.

    Args:
        vocabulary_size: the number of token ids.
        embedding_size: E, the dimension of word vectors.
        widths: the window of each convolution, in words.
        num_maps: M, the maps of each width.

    >>> LargestResponses(100, 8, widths=[2, 3], num_maps=5)(torch.tensor([[3, 4, 5, 0], [0, 0, 0, 0]])).shape
    torch.Size([2, 10])
    """

    def __init__(self, vocabulary_size: int, embedding_size: int, *, widths: Sequence[int], num_maps: int) -> None:
        super().__init__()
        self.embedding = make_word_vectors(vocabulary_size, embedding_size)
        for number, width in enumerate(widths, start=1):
            self.add_module(f"conv{number}", nn.Conv1d(embedding_size, num_maps, width, padding=width - 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the features. tokens: (B, L), int64 -> (B, K M), not negative."""
        is_word = tokens != PADDING
        words = self.embedding(tokens) * is_word.unsqueeze(-1)
        convolutions = [layer for layer in self.children() if isinstance(layer, nn.Conv1d)]
        margin = max(conv.kernel_size[0] for conv in convolutions) - 1
        padded = functional.pad(words, (0, 0, margin, margin))
        weight = torch.cat([conv.weight.movedim(2, 0).flatten(0, 1) for conv in convolutions])
        # One (B, margin + L + margin, M) for each offset in each width.
        products = iter(torch.split(functional.linear(padded, weight), convolutions[0].out_channels, dim=-1))
        largest = []
        for conv in convolutions:
            width = conv.kernel_size[0]
            num_windows = tokens.shape[1] + width - 1
            first = margin - (width - 1)
            has_word = functional.pad(is_word, (width - 1, width - 1)).unfold(1, width, 1).any(-1)
            # -inf leaves the maximum to other windows; if there are none, ReLU makes it zero.
            response = torch.zeros_like(has_word, dtype=words.dtype).masked_fill(~has_word, -torch.inf).unsqueeze(-1)
            for offset in range(first, first + width):
                response = response + next(products)[:, offset : offset + num_windows]
            assert conv.bias is not None
            largest.append(
                (response.max(dim=1).values + conv.bias).relu()
            )  # the same as ReLU before the maximum, and cheaper
        return torch.cat(largest, dim=-1)
