"""A convolutional network: blocks of convolutions, then fully connected layers."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from torch import nn

from ablation_suite.argument_checks import check_choice, check_integer, check_integers, expand_per_layer
from lit_models.activations import Activation, make_activation
from lit_models.classifier import Classifier
from lit_models.fully_connected import FullyConnected
from lit_models.initialisation import Init, initialise

Pool = Literal["max", "avg", "none"]
Padding = int | Literal["same"]

_POOLS: dict[str, Callable[[int], nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


class ConvNet(FullyConnected, Classifier):
    """A convolutional network in the manner of LeNet-5 (LeCun et al. 1998), for images (channels, height, width).

    Each block is convolution, batch norm, activation, pooling, dropout. The fully connected layers of an `MLP` follow,
    with the same activation, batch norm and dropout. Parameters are named `layers.features.conv1.weight`,
    `layers.head.linear1.weight`, `layers.head.output.weight`, and keep their names when an ingredient is switched or a
    later layer is added.

    Args:
        filters: the number of filters of each convolution.
        kernel_size: height and width of the kernels, in pixels: one for all convolutions, or a list with one for each.
        stride: in pixels, one or a list.
        padding: zeros added on each side, in pixels, one or a list; "same" adds (kernel_size - 1) / 2 for odd kernels,
            so that a stride of s leaves ceil(n / s) of n pixels.
        pool: the pooling at the end of each block; none builds no pooling layer.
        pool_size: height, width and stride of the pooling, in pixels.
        hidden: the number of units of each fully connected layer before the output.
        activation: see `make_activation`.
        init: initial values of weights and biases, see `initialise`; PyTorch's by default.
        dropout: the probability with which a unit is set to zero in training, 0 <= dropout < 1 (Srivastava et
            al. 2014); 0 builds no dropout layer.
        batch_norm: whether to normalise each convolution and hidden layer over the batch (Ioffe & Szegedy 2015).
        options: optimizer, lr_scheduler, head, loss, l1, l2, input_shape and num_classes, see `Classifier`.

    Raises:
        ValueError: an argument is not accepted, or a layer would have no pixels left; the message says which and why.

    >>> ConvNet(filters=[6], kernel_size=3, input_shape=(1, 8, 8), num_classes=10).layers
    Sequential(
      (features): Sequential(
        (conv1): Conv2d(1, 6, kernel_size=(3, 3), stride=(1, 1))
        (activation1): ReLU()
        (pool1): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
      )
      (head): Sequential(
        (flatten): Flatten(start_dim=1, end_dim=-1)
        (output): Linear(in_features=54, out_features=10, bias=True)
      )
    )
    """

    def __init__(
        self,
        filters: Sequence[int] = (16, 32),
        *,
        kernel_size: int | Sequence[int] = 5,
        stride: int | Sequence[int] = 1,
        padding: Padding | Sequence[Padding] = 0,
        pool: Pool = "max",
        pool_size: int = 2,
        hidden: Sequence[int] = (),
        activation: Activation = "relu",
        init: Init = "default",
        dropout: float = 0.0,
        batch_norm: bool = False,
        **options: Any,
    ) -> None:
        name = type(self).__name__
        check_integers(name, "filters", filters)
        check_choice(name, "pool", pool, get_args(Pool))
        check_integer(name, "pool_size", pool_size)
        kernels = expand_per_layer(name, "kernel_size", kernel_size, len(filters))
        strides = expand_per_layer(name, "stride", stride, len(filters))
        self.filters, self.pool, self.pool_size = filters, pool, pool_size
        self._windows = kernels, strides, _resolve_padding(name, padding, kernels)
        super().__init__(hidden, activation=activation, init=init, dropout=dropout, batch_norm=batch_norm, **options)

    def make_layers(self, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
        """Return the blocks and the fully connected layers: (B, channels, height, width) -> (B, num_outputs)."""
        if len(input_shape) != 3:  # noqa: PLR2004  # channels, height, width
            raise ValueError(
                f"{type(self).__name__}: input_shape is {tuple(input_shape)}; accepted: (channels, height, width)"
            )
        channels, height, width = input_shape
        sizes = [f"input {height}x{width}"]

        def shrink(layer: str, kernel: int, step: int, pad: int = 0) -> None:
            nonlocal height, width
            before = f"{height}x{width}"
            height, width = conv_size(height, kernel, step, pad), conv_size(width, kernel, step, pad)
            if min(height, width) < 1:
                raise ValueError(
                    f"{type(self).__name__}: {layer} would be {max(height, 0)}x{max(width, 0)} "
                    f"(kernel {kernel}, stride {step}, padding {pad} on {before}); sizes: {' -> '.join(sizes)}"
                )
            sizes.append(f"{layer} {height}x{width}")

        features: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (count, kernel, step, pad) in enumerate(zip(self.filters, *self._windows, strict=True), 1):
            shrink(f"conv{number}", kernel, step, pad)
            features[f"conv{number}"] = nn.Conv2d(channels, count, kernel, step, pad)
            if self.batch_norm:
                features[f"norm{number}"] = nn.BatchNorm2d(count)
            features[f"activation{number}"] = make_activation(self.activation)
            if self.pool != "none":
                shrink(f"pool{number}", self.pool_size, self.pool_size)
                features[f"pool{number}"] = _POOLS[self.pool](self.pool_size)
            if self.dropout > 0:
                features[f"dropout{number}"] = nn.Dropout(self.dropout)
            channels = count

        convolutions = nn.Sequential(features)
        initialise(convolutions, self.init)
        head = super().make_layers((channels, height, width), num_outputs)
        return nn.Sequential(OrderedDict(features=convolutions, head=head))


def conv_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0) -> int:
    """Return the size of one side after a convolution or pooling: floor((n + 2 p - f) / s) + 1 pixels.

    n is the size before, f the kernel, s the stride and p the padding on each side, all in pixels (Dumoulin & Visin
    2016, A guide to convolution arithmetic for deep learning, relationship 6). Below 1, the kernel does not fit.

    >>> conv_size(28, kernel_size=5)
    24
    >>> conv_size(28, kernel_size=3, stride=2, padding=1)
    14
    >>> conv_size(1, kernel_size=2, stride=2)
    0
    """
    return (size + 2 * padding - kernel_size) // stride + 1


def _resolve_padding(name: str, padding: Padding | Sequence[Padding], kernels: Sequence[int]) -> tuple[int, ...]:
    """Return the padding of each convolution in pixels, with `same` resolved."""
    if padding == "same":
        padding = ["same"] * len(kernels)
    if isinstance(padding, int | str) or len(padding) != len(kernels):
        return expand_per_layer(name, "padding", padding, len(kernels), minimum=0)  # type: ignore[arg-type]  # or its message
    for kernel, pad in zip(kernels, padding, strict=True):
        if pad == "same" and kernel % 2 == 0:
            raise ValueError(
                f"{name}: padding is 'same' and kernel_size {kernel}; accepted: odd kernels, which have a centre"
            )
    in_pixels = [(kernel - 1) // 2 if pad == "same" else pad for kernel, pad in zip(kernels, padding, strict=True)]
    return expand_per_layer(name, "padding", in_pixels, len(kernels), minimum=0)
