"""What a search found, in sentences; the same in a terminal, on a page and in JSON."""

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.bootstrap import Interval, McNemar
from ig3d_ray.evaluation.distributions import normal_quantile
from ig3d_ray.report.numbers import interval_text
from ig3d_ray.search.leaderboard import Leaderboard

LISTED = 12
LEVEL = 0.05
"""The significance level of McNemar's test, matching the 95 % intervals."""


def verdict(space: SearchSpace, board: Leaderboard) -> str:
    """Whether fusion improves the score over the member that is best on the report set, in one sentence."""
    metric, members = space.objective, board.chosen.result.members
    gain, test = board.chosen.gain, board.mcnemar_over(board.best_single)
    better = "more" if metrics.metric_of(metric).greater_is_better else "less"
    size = f"{abs(gain.value):.4f} {better if gain.value >= 0 else _opposite(better)} {metric}"
    single, split = board.best_single.result.members[0], board.chosen.scores.report.split
    groups = of_groups(board)
    message = f"{size} than {single}, the best single member on {split}, {_paired(gain, test, metric, groups)}"
    # With few samples the bootstrap intervals are too narrow; the exact test is not affected.
    doubted = metric == "accuracy" and test is not None and test.p * board.evaluations >= LEVEL
    corrected = corrected_for(gain, board.evaluations)
    if board.singles == 1:
        return "There was nothing to fuse: the pool has one member."
    if len(members) == 1:
        return f"No gain: cross-fitted on {space.protocol.choose_on}, no fusion did better than {members[0]} alone."
    if space.protocol.kind == "paper":
        return f"The ensemble has {message}; it was chosen on the same samples, so this is optimistic."
    if board.evaluations > 1:
        message += f"; {evaluation_number(board)}, so that it counts as {_interval_of(corrected)}"
    if max(-corrected.low, corrected.high) <= space.protocol.rope:
        return f"Practically the same, within {space.protocol.rope:g}: the ensemble has {message}."
    if corrected.low > 0 and not doubted:
        return f"The gain is real: the ensemble has {message}."
    if corrected.high < 0:
        return f"The ensemble is worse: {message}."
    return f"No gain can be claimed: the ensemble has {message}."


def corrected_for(gain: Interval, evaluations: int) -> Interval:
    """The interval of a gain, corrected for several evaluations on the report set (Bonferroni).

    By a normal approximation: the resamples are too few for such quantiles.

    Args:
        gain: with its 95 % interval.
        evaluations: how many, this one included.
    """
    wider = normal_quantile(LEVEL / 2 / evaluations) / normal_quantile(LEVEL / 2)
    ends = (gain.value + wider * (end - gain.value) for end in (gain.low, gain.high))
    return Interval(value=gain.value, low=next(ends), high=next(ends))


def evaluation_number(board: Leaderboard) -> str:
    """Which evaluation on the report set a search was."""
    number = board.evaluations
    last = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number // 10 % 10 != 1 else "th"
    return f"this is the {number}{last} search that reports on these samples"


def _interval_of(gain: Interval) -> str:
    return f"{gain.low:+.4f} to {gain.high:+.4f}"


def _paired(gain: Interval, test: McNemar | None, metric: str, groups: str) -> str:
    """The uncertainty of a paired gain."""
    text = f"95 % interval{groups} {gain.low:+.4f} to {gain.high:+.4f}"
    if test is None:
        return text
    name = "t test of groups" if groups else "McNemar"
    of_what = name if metric == "accuracy" else f"{name} on accuracy"
    return f"{text}, {of_what} p {'< 1e-9' if test.p < 1e-9 else f'= {test.p:.2g}'}"


def over_2d(space: SearchSpace, board: Leaderboard) -> str:
    """The gain over the best 2D member, in one sentence; empty where it is the best single member, or there is none."""
    other, metric = board.best_2d, space.objective
    if other is None or other is board.best_single:
        return ""
    gain, test = board.gain_over(other, metric), board.mcnemar_over(other)
    which = f"{other.result.members[0]}, the best 2D member on {board.chosen.scores.report.split}"
    return f"Over {which}: {gain.value:+.4f} {metric}, {_paired(gain, test, metric, of_groups(board))}."


def about_columns(space: SearchSpace, board: Leaderboard) -> str:
    """Why a row has two numbers on the same samples under cross-fitting; empty under other protocols."""
    if space.protocol.kind != "cross_fitted":
        return ""
    score = board.chosen.scores.selection.metrics[space.objective].value
    return (
        "Selection: the row's own members and weights, on the samples that chose them; `ig3d predict` prints this"
        f" number, {score:.4f} for the exported ensemble. Report: the row's rule, each fold by what it chose without"
        " that fold; two rules that chose the same in the end may have chosen differently in some folds."
    )


def optimism(board: Leaderboard) -> str:
    """The optimism of the selection score, in one sentence."""
    found = board.optimism
    which = "better" if found.measured >= 0 else "worse"
    return (
        f"Optimism: the ensemble scored {abs(found.measured):.4f} {which} where it was chosen than where it is"
        f" reported; choosing the best of so many makes it look {found.expected:.4f} better."
    )


def about_proof(board: Leaderboard) -> str:
    """What no weights of the chosen members exceed on the selection set, in one sentence; empty if not asked for."""
    proof = board.proof
    if proof is None:
        return ""
    if proof.bound is None:
        if len(proof.members) == 1:
            return "Proof: none for a single member."
        return f"Proof: only for one weight of each member; this ensemble is {board.chosen.result.fusion.label}."
    many = len(proof.members) > LISTED
    whose = f"the {len(proof.members)} members" if many else " + ".join(proof.members)
    text = (
        f"Proof: no weights of {whose} score above {proof.bound:.4f} in accuracy on"
        f" {board.chosen.scores.selection.split}; the chosen ones score {proof.chosen:.4f}"
    )
    if proof.wrong is not None:
        whole = "" if proof.wrong.is_whole else "; not all sets were searched"
        return (
            f"{text}. {proof.wrong.hopeless} of {proof.wrong.samples} samples are wrong with any weights, and of each"
            f" of {proof.wrong.sets} sets of others one is{whole}."
        )
    weights = ", ".join(f"{weight:.4f} {name}" for weight, name in zip(proof.weights, proof.members, strict=True))
    return f"{text}, and {weights} score {proof.best:.4f}."


def about_calibration(board: Leaderboard) -> str:
    """How good the chosen ensemble's probabilities are, before and after its temperature; empty without classes."""
    if board.calibrated is None:
        return ""
    before, after = board.calibrated.scores.uncalibrated, board.calibrated.scores.calibrated
    return (
        f"Probabilities on {board.chosen.scores.report.split}: calibration error {interval_text(after.ece)}, log-loss"
        f" {interval_text(after.log_loss)}, Brier score {interval_text(after.brier)}; without a temperature of fused"
        f" scores (of the exported ensemble: {board.calibrated.temperature:.3g}) {before.ece.value:.4f},"
        f" {before.log_loss.value:.4f} and {before.brier.value:.4f}. It changes no predicted class."
    )


def about_abstention(board: Leaderboard) -> str:
    """Where the chosen ensemble abstains, in one sentence; empty if nothing was asked for."""
    found = board.calibrated.abstention if board.calibrated is not None else None
    if found is None:
        return ""
    if found.threshold is None:
        return f"Abstention: no threshold bounds the error by {found.risk:g} with 95 % confidence; nothing is answered."
    error = "" if found.error is None else f", with an error of {interval_text(found.error)} among them"
    return (
        f"Abstention: below a probability of {found.threshold:.4f}, for an error of at most {found.risk:g} with 95 %"
        f" confidence; {found.coverage:.1%} of {board.chosen.scores.report.split} is answered{error}."
    )


def about_floor(board: Leaderboard) -> str:
    """Whether the chosen ensemble's worst subgroup reaches its floor, in one sentence; empty without a floor."""
    floor = board.floor
    if floor is None:
        return ""
    choose_on, report_on = board.chosen.scores.selection.split, board.chosen.scores.report.split
    reached = "reaches" if floor.selection >= floor.at_least else "does not reach"
    text = (
        f"Floor: the worst subgroup by {floor.attribute} {reached} {floor.metric} {floor.at_least:g} on {choose_on}, by"
        f" cross-fitting: {floor.selection:.4f}"
    )
    if floor.report is None:
        return f"{text}; on {report_on} no subgroup has enough samples."
    return f"{text}; on {report_on} the worst is {floor.worst} with {floor.report:.4f}."


def about_subgroups(space: SearchSpace, board: Leaderboard) -> list[str]:
    """Between which subgroups the chosen ensemble differs most, a sentence for each attribute."""
    lines = []
    for one in board.subgroups:
        best, worst = one.subgroups[0], one.subgroups[-1]
        text = (
            f"By {one.attribute}: {space.objective} from {interval_text(worst.score)} ({worst.value}, n={worst.n}) to"
            f" {interval_text(best.score)} ({best.value}, n={best.n}), a gap of {one.gap:.4f}"
        )
        if one.p is not None:
            differs = "the subgroups differ" if one.p < LEVEL else "no difference of the subgroups is shown"
            text += f"; {differs} (chi-squared test of accuracy, p = {one.p:.2g}, corrected for {len(board.subgroups)})"
        worse = [part.value for part in one.subgroups if part.gain.high < 0]
        lines.append(text + (f"; fusion is worse for {', '.join(worse)}." if worse else "."))
    return lines


def _opposite(word: str) -> str:
    return "less" if word == "more" else "more"


def chosen_by(space: SearchSpace, board: Leaderboard) -> str:
    """The members of the chosen ensemble, and how it was chosen."""
    result = board.chosen.result
    by = f"{board.chosen_family}, chosen by cross-fitting on {space.protocol.choose_on}"
    if len(result.members) == 1:
        return f"Chosen: {by}: {result.members[0]}"
    weights = result.fusion.weight_texts(len(result.members))
    parts = [f"{weight} {name}".strip() for name, weight in zip(result.members, weights, strict=True)]
    more = f", and {len(parts) - LISTED} more" if len(parts) > LISTED else ""
    besides = ""
    if result.fusion.gate is not None:
        inputs = f" and mean {named} parameters" if (named := result.fusion.representation) else ""
        besides = f"; weights as they are at mean confidence{inputs}, from which they depend on the sample"
    if result.fusion.correction is not None:
        what = "the class scores" if space.task.has_classes else "valence and arousal"
        besides = f"; to these weights a linear correction of {what} is added"
    return f"Chosen: {by}: {', '.join(parts[:LISTED])}{more}{besides}"


def of_groups(board: Leaderboard) -> str:
    """What intervals are of, where samples belong together."""
    count = board.chosen.scores.report.groups
    return "" if count is None else f" by whole groups ({count})"
