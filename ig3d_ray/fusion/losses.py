"""Log-losses of weighted members, with gradient and curvature, summed over folds of the samples."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

_BLOCK = 4096
_FLOOR = 1e-12


@dataclass(frozen=True)
class Local:
    """A loss summed over some samples, at some weights `[K]`: value, gradient `[K]`, curvature `[K, K]`."""

    value: float
    gradient: np.ndarray
    hessian: np.ndarray

    def __add__(self, other: "Local") -> "Local":
        return Local(self.value + other.value, self.gradient + other.gradient, self.hessian + other.hessian)

    def __sub__(self, other: "Local") -> "Local":
        return Local(self.value - other.value, self.gradient - other.gradient, self.hessian - other.hessian)


class FoldedLoss(Protocol):
    """A convex loss of weights `[K]` over samples in folds."""

    @property
    def sizes(self) -> np.ndarray:
        """Samples in each fold."""

    @property
    def members(self) -> int:
        """K."""

    def local(self, weights: np.ndarray, fold: int, hessian: np.ndarray | None = None) -> Local:
        """Value, gradient and curvature on a fold; a curvature that is given is kept, which saves most of the work."""

    def value(self, weights: np.ndarray, fold: int) -> float:
        """The value alone."""

    def alone(self) -> np.ndarray:
        """The loss of each member alone over all folds, `[K]`."""


@dataclass(frozen=True)
class LogitLoss:
    """-log softmax(sum of w_m * logits_m) at the label: convex in w.

    Attributes:
        outputs: `[K, N, C]` float32, any order of samples.
        order: `[N]`: samples of a fold next to each other.
        scale: `[K]`: what each member's logits are multiplied by.
        labels: `[N]`, in the order.
        sizes: samples in each fold.
    """

    outputs: np.ndarray
    order: np.ndarray | None
    scale: np.ndarray | None
    labels: np.ndarray
    sizes: np.ndarray

    @staticmethod
    def of(outputs_KNC: np.ndarray, labels_N: np.ndarray, fold_N: np.ndarray, sizes_K: np.ndarray) -> "LogitLoss":
        """Args: logits, labels, the fold of each sample, and what each member's logits are divided by."""
        order, scale = np.argsort(fold_N, kind="stable"), (1 / sizes_K).astype(np.float32)
        outputs = np.asarray(outputs_KNC, dtype=np.float32)
        return LogitLoss(outputs, order, scale, labels_N[order], np.bincount(fold_N))

    @property
    def members(self) -> int:
        """K, the number of members."""
        return len(self.outputs)

    def only(self, members: np.ndarray) -> "LogitLoss":
        """Copied into order, which pays off for repeated access; a large pool is not copied as a whole."""
        outputs = np.take(self.outputs, members, axis=0) if len(members) < self.members else self.outputs
        if self.order is not None and self.scale is not None:
            outputs = np.take(outputs, self.order, axis=1)
            outputs -= _means(outputs)
            outputs *= self.scale[members][:, None, None]
        return LogitLoss(outputs, None, None, self.labels, self.sizes)

    def _rows(self, rows: slice) -> np.ndarray:
        """`[K, B, C]` float32: a block of samples in order."""
        if self.order is None or self.scale is None:
            return self.outputs[:, rows]
        outputs = np.take(self.outputs, self.order[rows], axis=1)
        outputs -= _means(outputs)
        outputs *= self.scale[:, None, None]
        return outputs

    def _blocks(self, fold: int) -> list[slice]:
        end = int(self.sizes[: fold + 1].sum())
        start = end - int(self.sizes[fold])
        return [slice(a, min(a + _BLOCK, end)) for a in range(start, end, _BLOCK)]

    def local(self, weights: np.ndarray, fold: int, hessian: np.ndarray | None = None) -> Local:
        """Value, gradient and curvature of a fold at the weights; a given Hessian is kept."""
        count = len(weights)
        value, gradient, curvature = 0.0, np.zeros(count), np.zeros((count, count))
        for rows in self._blocks(fold):
            # In double precision, a block at a time, so that memory does not grow with the samples.
            single = self._rows(rows)
            outputs = single.astype(np.float64)
            likely, losses = _softmax(np.tensordot(weights, outputs, 1), self.labels[rows])
            value += float(losses.sum())
            residual = likely.copy()
            residual[np.arange(len(residual)), self.labels[rows]] -= 1
            gradient += outputs.reshape(count, -1) @ residual.ravel()
            if hessian is not None:
                continue
            # The curvature decides how fast the minimum is reached, not where it is: single precision is sufficient.
            root = np.sqrt(likely).astype(np.float32)
            spread = single * root
            mean = np.einsum("knc,nc->kn", spread, root)
            spread = spread.reshape(count, -1)
            curvature += spread @ spread.T - mean @ mean.T
        return Local(value, gradient, curvature if hessian is None else hessian)

    def value(self, weights: np.ndarray, fold: int) -> float:
        """The loss of a fold at the weights."""
        used, value = np.flatnonzero(weights), 0.0
        for rows in self._blocks(fold):
            fused = np.tensordot(weights[used], self._rows(rows)[used].astype(np.float64), 1)
            value += float(_softmax(fused, self.labels[rows])[1].sum())
        return value

    def alone(self) -> np.ndarray:
        """The loss of each member alone, `[K]`; near enough to rank them."""
        losses, ones = np.zeros(self.members), np.ones(self.outputs.shape[2], dtype=np.float32)
        for start in range(0, len(self.labels), _BLOCK):
            rows = slice(start, start + _BLOCK)
            outputs, labels = self._rows(rows), self.labels[rows]
            of_label = outputs[:, np.arange(len(labels)), labels]
            # Relative to the label, so that only badly misclassified samples can overflow.
            apart = np.minimum(outputs - of_label[:, :, None], 80)
            losses += np.log(np.exp(apart) @ ones).sum(axis=1)
        return losses

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """The gradient over all samples, of all members: one pass that costs no more than reading them."""
        gradient = np.zeros(len(weights))
        for fold in range(len(self.sizes)):
            for rows in self._blocks(fold):
                outputs = self._rows(rows)
                fused = np.tensordot(weights.astype(np.float32), outputs, 1).astype(np.float64)
                residual, _ = _softmax(fused, self.labels[rows])
                residual[np.arange(len(residual)), self.labels[rows]] -= 1
                gradient += outputs.reshape(len(weights), -1) @ residual.ravel().astype(np.float32)
        return gradient


def _means(outputs_KNC: np.ndarray) -> np.ndarray:
    """`[K, N, 1]`: each sample's mean logit. It changes no probability, and beside a large one the differences between
    classes would be lost in the curvature's single precision."""
    ones = np.full((outputs_KNC.shape[2], 1), 1 / outputs_KNC.shape[2], dtype=outputs_KNC.dtype)
    return np.asarray(outputs_KNC @ ones)


def _softmax(fused: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `[N, C]` and the losses `[N]` at the labels."""
    fused = fused - fused.max(axis=1, keepdims=True)
    likely = np.exp(fused)
    total = likely.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0]) - fused[np.arange(len(fused)), labels]
    likely /= total
    return likely, losses


@dataclass(frozen=True)
class MixtureLoss:
    """-log of the sum of w_m * probability_m of the label: convex in w; only the labels' probabilities matter.

    Attributes:
        outputs: `[K, N]` float64, samples of a fold next to each other.
        sizes: samples in each fold.
    """

    outputs: np.ndarray
    sizes: np.ndarray

    @staticmethod
    def of(probabilities_KNC: np.ndarray, labels_N: np.ndarray, fold_N: np.ndarray) -> "MixtureLoss":
        """The loss of mixtures of members' probabilities."""
        of_label = probabilities_KNC[:, np.arange(len(labels_N)), labels_N].astype(np.float64)
        order = np.argsort(fold_N, kind="stable")
        return MixtureLoss(np.maximum(of_label, _FLOOR)[:, order], np.bincount(fold_N))

    @property
    def members(self) -> int:
        """K, the number of members."""
        return len(self.outputs)

    def only(self, members: np.ndarray) -> "MixtureLoss":
        """The loss of some of the members."""
        return MixtureLoss(self.outputs[members], self.sizes)

    def _rows(self, fold: int) -> slice:
        end = int(self.sizes[: fold + 1].sum())
        return slice(end - int(self.sizes[fold]), end)

    def local(self, weights: np.ndarray, fold: int, hessian: np.ndarray | None = None) -> Local:
        """Value, gradient and curvature of a fold at the weights; a given Hessian is kept."""
        outputs = self.outputs[:, self._rows(fold)]
        fused = np.maximum(weights @ outputs, _FLOOR)
        share = outputs / fused
        curvature = share @ share.T if hessian is None else hessian
        return Local(-float(np.log(fused).sum()), -share.sum(axis=1), curvature)

    def value(self, weights: np.ndarray, fold: int) -> float:
        """The loss of a fold at the weights."""
        return -float(np.log(np.maximum(weights @ self.outputs[:, self._rows(fold)], _FLOOR)).sum())

    def alone(self) -> np.ndarray:
        """The loss of each member alone over all folds, `[K]`."""
        return -np.log(self.outputs).sum(axis=1)

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """The gradient over all samples, of all members."""
        return -(self.outputs / np.maximum(weights @ self.outputs, _FLOOR)).sum(axis=1)
