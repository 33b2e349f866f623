"""The search over cached logits: candidates, their scores, the choice among them.

`run_local` searches in this process, `build_leaderboard` compares what was found, `LateFusion` is the estimator for
notebooks.
It loads neither torch nor Ray.
"""
