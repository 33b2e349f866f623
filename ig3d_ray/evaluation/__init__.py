"""Predictions of models and how good they are.

`LogitTable` holds the outputs of one model, `Pool` the outputs of several on the same samples, matched by id;
`metrics` and `bootstrap` score them.
It does not depend on how outputs are combined or where they come from.
"""
