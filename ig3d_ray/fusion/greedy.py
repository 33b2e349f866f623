"""Greedy selection with replacement: in each step, the member that improves the metric most is added."""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.evaluation import metrics
from ig3d_ray.types import Task

PATIENCE = 10
_BLOCK = 2048


@dataclass(frozen=True)
class _Members:
    """Members' scores laid out for one pass: `[C, M, N]` float32, and of the labels alone `[M, N]`; labels `[N]`;
    the metric, the more the better."""

    scores: np.ndarray
    of_label: np.ndarray
    labels: np.ndarray
    metric: str

    @staticmethod
    def of(outputs_MNC: np.ndarray, labels_N: np.ndarray, metric: str) -> "_Members":
        scores = np.ascontiguousarray(np.moveaxis(outputs_MNC, 2, 0), dtype=np.float32)
        of_label = np.ascontiguousarray(outputs_MNC[:, np.arange(len(labels_N)), labels_N], dtype=np.float32)
        return _Members(scores, of_label, labels_N, metric)

    def judge(self, sum_CN: np.ndarray, among: np.ndarray) -> np.ndarray:
        """The metric `[len(among)]` of the sum with each of some members added: one pass over all of them. For metrics
        of probabilities, minus the Brier score, or minus the log-loss."""
        if self.metric in metrics.PROBABILITY_METRICS:
            return -(self._brier(sum_CN, among) if self.metric == "brier" else self.surprise(sum_CN, among))
        classes, samples = len(self.scores), len(self.labels)
        everyone = len(among) == self.scores.shape[1]
        counts = np.zeros((len(among), 3, classes))
        for start in range(0, samples, _BLOCK):
            rows = slice(start, start + _BLOCK)
            scores = self.scores[:, :, rows] if everyone else self.scores[:, among, rows]
            labels = self.labels[rows]
            if self.metric == "accuracy":
                of_label = self.of_label[:, rows] if everyone else self.of_label[among, rows]
                fused = of_label + sum_CN[labels, np.arange(start, start + len(labels))]
                rival = _highest_of_others(scores, sum_CN[:, rows], labels)
                if (fused == rival).any():
                    counts[:, 0, 0] += _counted(scores, sum_CN[:, rows], labels)[:, 0].sum(axis=1)
                else:
                    counts[:, 0, 0] += np.count_nonzero(fused > rival, axis=1)
            else:
                counts += _counted(scores, sum_CN[:, rows], labels)
        if self.metric == "accuracy":
            return counts[:, 0, 0] / samples
        return metrics.from_sums(Task.EXPRESSION, counts.reshape(len(among), -1))[self.metric]

    def _brier(self, sum_CN: np.ndarray, among: np.ndarray) -> np.ndarray:
        """The Brier score of the sum with each member added, over its total."""
        found = np.empty(len(among))
        for place, member in enumerate(among):
            fused = (self.scores[:, member] + sum_CN).astype(np.float64)
            likely = fused / np.maximum(fused.sum(axis=0), 1e-12)
            of_label = likely[self.labels, np.arange(len(self.labels))]
            found[place] = float((likely**2).sum(axis=0).mean() - 2 * of_label.mean() + 1)
        return found

    def surprise(self, sum_CN: np.ndarray, among: np.ndarray) -> np.ndarray:
        """How unlikely the labels are under each member added, as a mean of logarithms; breaks ties."""
        of_label = self.of_label[among].T + sum_CN[self.labels, np.arange(len(self.labels))][:, None]
        whole = self.scores[:, among].sum(axis=0).T + sum_CN.sum(axis=0)[:, None]
        return -np.log(np.maximum(of_label / np.maximum(whole, 1e-12), 1e-12)).mean(axis=0)


def _highest_of_others(scores: np.ndarray, sum_CN: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The highest fused score of any class but the label, `[M, N]`."""
    highest = np.full(scores.shape[1:], -np.inf, dtype=np.float32)
    fused = np.empty_like(highest)
    for one in range(len(scores)):
        np.add(scores[one], sum_CN[one], out=fused)
        fused[:, labels == one] = -np.inf
        np.maximum(highest, fused, out=highest)
    return highest


def _counted(scores: np.ndarray, sum_CN: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Hits, labels and predictions per class: `[M, 3, C]`; classes that tie for the largest score share a sample."""
    highest = scores[0] + sum_CN[0]
    top = np.zeros(highest.shape, dtype=np.int8)
    for one in range(1, len(scores)):
        rival = scores[one] + sum_CN[one]
        np.copyto(top, np.int8(one), where=rival > highest)
        np.maximum(highest, rival, out=highest)
    classes = len(scores)
    of_label = np.eye(classes)[labels]
    ties = np.zeros(highest.shape, dtype=np.int8)
    for one in range(classes):
        ties += scores[one] + sum_CN[one] == highest
    if (ties > 1).any():
        shares = np.stack([(scores[one] + sum_CN[one] == highest) / ties for one in range(classes)], axis=1)
        predicted = shares.sum(axis=2)
        hits = np.einsum("mcn,nc->mc", shares, of_label)
        return np.stack([hits, np.broadcast_to(of_label.sum(axis=0), hits.shape), predicted], axis=1)
    hits = (top == labels.astype(np.int8)) @ of_label
    predicted = np.stack([np.count_nonzero(top == one, axis=1) for one in range(classes)], axis=1)
    return np.stack([hits, np.broadcast_to(of_label.sum(axis=0), hits.shape), predicted], axis=1)


def greedy(
    probabilities_MNC: np.ndarray,
    labels_N: np.ndarray,
    metric: str = "accuracy",
    size: int = 50,
    start: int = 5,
    bags: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """Weights `[M]` that sum to one: how often each member was taken.

    Args:
        probabilities_MNC: `[M, N, C]`, not negative.
        labels_N: `[N]` int.
        metric: improved in each step; ties go to the member with the highest likelihood of the labels.
        size: members taken at most, repeats included; it ends early after ten steps without improvement, and
            the best size on the way is kept.
        start: begins with the best few members, as many of at most `start` as are best together.
        bags: repeats on random halves of the members and averages, so that no member is in every bag by chance.

    Source: Caruana et al. 2004, sections 2.1 to 2.3.
    """
    members, count = _Members.of(probabilities_MNC, labels_N, metric), len(probabilities_MNC)
    if bags == 0 or count < 4:
        return _one_bag(members, np.arange(count), size, start)
    rng = np.random.default_rng([seed, bags])
    halves = [np.sort(rng.choice(count, (count + 1) // 2, replace=False)) for _ in range(bags)]
    return np.mean([_one_bag(members, half, size, start) for half in halves], axis=0)


def _one_bag(members: _Members, among: np.ndarray, size: int, start: int) -> np.ndarray:
    nothing = np.zeros((len(members.scores), len(members.labels)), dtype=np.float32)
    alone, unlikely = members.judge(nothing, among), members.surprise(nothing, among)
    ranked = among[np.lexsort((unlikely, -alone))]
    taken: list[int] = []
    scores: list[float] = []
    fused = nothing
    for member in ranked[: max(start, 1)]:
        scores.append(float(members.judge(fused, np.array([member]))[0]))
        taken.append(int(member))
        fused = fused + members.scores[:, member]
    begin = int(np.argmax(scores)) + 1
    taken, scores = taken[:begin], scores[:begin]
    fused = members.scores[:, taken].sum(axis=1)
    while len(taken) < size and len(taken) - int(np.argmax(scores)) <= PATIENCE:
        found = members.judge(fused, among)
        best = np.flatnonzero(found >= found.max() - 1e-12)
        if len(best) > 1:
            best = best[[int(members.surprise(fused, among[best]).argmin())]]
        taken.append(int(among[best[0]]))
        scores.append(float(found[best[0]]))
        fused = fused + members.scores[:, taken[-1]]
    kept = taken[: int(np.argmax(scores)) + 1]
    return np.bincount(kept, minlength=members.scores.shape[1]) / len(kept)
