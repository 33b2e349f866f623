"""Exported ensembles: the spec, and predictions by it.

`EnsembleSpec` is `best_ensemble.json`; `Ensemble` predicts for images, `predict` for a split of a data set.
It imports no Ray.
"""
