"""Cross-entropy with a whole distribution as the target.

# B batch, C classes, h w positions
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelkit.losses.sparse_cross_entropy import sparse_cross_entropy
from labelkit.targets import SparseProbabilities


class SoftTargetCrossEntropy(nn.Module):
    """Cross-entropy between logits and soft targets, dense or sparse, averaged over the batch.

    ``loss = (1/B) * sum_b sum_c -target[b, c] * log softmax(logits[b])[c]``

    Computed in float32 at least, whatever autocast or the inputs say: in half precision the
    log-softmax over thousands of classes loses its digits. Targets need not sum to 1.

    Sparse targets are never made dense, so that over many thousands of classes their loss takes
    half the time; no gradient flows into them.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3; Hinton et al. 2015 (arXiv 1503.02531),
    section 2, at temperature 1.

    >>> loss = SoftTargetCrossEntropy()
    >>> round(float(loss(torch.zeros(2, 4), torch.full((2, 4), 0.25))), 4)
    1.3863
    >>> listed, excess = torch.tensor([[2], [0]]), torch.full((2, 1), 0.6)
    >>> sparse = SparseProbabilities(listed, excess, rest=torch.full((2,), 0.1))
    >>> round(float(loss(torch.eye(2, 4), sparse)), 4)
    1.6437
    """

    def forward(self, logits: Tensor, target: Tensor | SparseProbabilities) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 inputs).

        Args:
            logits: floats (B, C), or (B, C, h, w) of positions, over which the mean is taken too.
            target: floats of the same shape, each a distribution over the C classes; or, for (B, C)
                logits, the same as ``SparseProbabilities``.

        Raises:
            ValueError: the shapes differ or have no classes, the types are not floats, B is 0, or
                a sparse target on the CPU lists a class outside the C.
        """
        if isinstance(target, SparseProbabilities):
            return sparse_cross_entropy(logits, target)
        shapes = f"logits {tuple(logits.shape)} and target {tuple(target.shape)}"
        if logits.ndim not in {2, 4} or logits.shape != target.shape:
            raise ValueError(
                f"got {shapes}, expected one shape (batch, classes) or (batch, classes, h, w) for "
                "both"
            )
        if not (logits.is_floating_point() and target.is_floating_point()):
            raise ValueError(
                f"got {logits.dtype} logits and {target.dtype} target, expected floats"
            )
        if logits.numel() == 0:
            raise ValueError(f"got {shapes}: an empty batch has no mean; skip it")
        dtype = torch.promote_types(torch.promote_types(logits.dtype, target.dtype), torch.float32)
        log_probability = logits.log_softmax(dim=1, dtype=dtype)
        answers = logits.numel() // logits.shape[1]
        return -(target.to(dtype) * log_probability).sum() / answers
