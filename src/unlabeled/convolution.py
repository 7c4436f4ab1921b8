"""Convolutions of small maps as matrix products: on a CPU up to three times as fast as oneDNN's."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from unlabeled.winograd import Winograd

SMALL, SMALL_IN_FLOAT32 = 4, 2
"""Pixels a side of the result up to which a product of patches is the faster one (benchmarks/convolution.py)."""
CHANNELS_A_PIXEL = 8
"""Of the input, for each pixel of a side, from which minimal filtering is the faster one (the same)."""
FEWEST = 64
"""Channels from which on there is anything to gain in float32."""


class Conv2d(nn.Conv2d):
    """torch's, square, without a bias, and on a CPU computed otherwise where that is faster.

    As a product of patches, or by minimal filtering; in float32 in train mode alone, for these sums, in another order,
    differ in the sixth digit, and features should not depend on it.

    Args:
        kernel: Pixels a side, odd; the borders are padded by half of it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, ⌈H / stride⌉, ⌈W / stride⌉)."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        stride, autocast = self.stride[0], torch.is_autocast_enabled("cpu")
        side = max(x.shape[2:]) / stride
        bf16 = autocast and torch.get_autocast_dtype("cpu") == torch.bfloat16
        fp32 = not autocast and self.training and x.dtype == torch.float32 and x.shape[1] >= FEWEST
        if fp32 and self._can_be_filtered(x):
            return Winograd.apply(x, self.weight)
        if fp32 and side <= SMALL_IN_FLOAT32:
            return PatchProduct.apply(x, self.weight, stride)
        if bf16 and side <= SMALL:
            return PatchProduct.apply(x.bfloat16(), self.weight.bfloat16(), stride)
        return super().forward(x)

    def _can_be_filtered(self, x: Tensor) -> bool:
        _, channels, height, width = x.shape
        fits = self.kernel_size == (3, 3) and self.stride == (1, 1) and height == width > 1
        return fits and channels >= CHANNELS_A_PIXEL * width


class PatchProduct(torch.autograd.Function):
    """`F.conv2d(x, weight, stride=stride, padding=k // 2)` of square kernels of odd k, channels last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        kernel = weight.shape[2]
        patches = patches_of(x.permute(0, 2, 3, 1), kernel, stride)
        ctx.save_for_backward(patches, weight)
        ctx.shape, ctx.stride = x.shape, stride
        product = patches.flatten(3) @ weight.permute(2, 3, 1, 0).flatten(0, 2)
        return product.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (patches, weight), gradient = ctx.saved_tensors, gradient.permute(0, 2, 3, 1)
        outputs, inputs, kernel, _ = weight.shape
        of_x = of_weight = None
        if ctx.needs_input_grad[1]:
            product = gradient.flatten(0, 2).T @ patches.flatten(3).flatten(0, 2)
            of_weight = product.view(outputs, kernel, kernel, inputs).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[0] and ctx.stride == 1:  # the convolution with the kernel turned round
            turned = weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2)
            of_x = (patches_of(gradient, kernel, 1).flatten(3) @ turned).permute(0, 3, 1, 2)
        elif ctx.needs_input_grad[0]:
            of_x = PatchProduct._spread(gradient, weight, ctx.shape, ctx.stride)
        return of_x, of_weight, None

    @staticmethod
    def _spread(gradient: Tensor, weight: Tensor, shape: torch.Size, stride: int) -> Tensor:
        """What each patch gets, added where it was taken from."""
        (batch, inputs, height, width), kernel, (_, rows, columns, _) = shape, weight.shape[2], gradient.shape
        border = kernel // 2
        padded = gradient.new_zeros(batch, height + 2 * border, width + 2 * border, inputs)
        for i in range(kernel):
            for j in range(kernel):
                part = padded[:, i : i + rows * stride : stride, j : j + columns * stride : stride]
                part += gradient @ weight[:, :, i, j]
        return padded[:, border : border + height, border : border + width].permute(0, 3, 1, 2)


def patches_of(x: Tensor, kernel: int, stride: int) -> Tensor:
    """What each position of a kernel sees: (B, H, W, C) to (B, ⌈H / stride⌉, ⌈W / stride⌉, k, k, C)."""
    border = kernel // 2
    padded = F.pad(x, (0, 0, border, border, border, border)).contiguous()
    batch, height, width, channels = x.shape
    image, row, column, channel = padded.stride()
    shape = (batch, -(-height // stride), -(-width // stride), kernel, kernel, channels)
    return padded.as_strided(shape, (image, stride * row, stride * column, row, column, channel)).contiguous()
