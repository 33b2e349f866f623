"""The order of a run: data, training, cache, search, export.

`run` does all of it; `inventory` compares what a search space asks for with what a store holds.
It does none of the work itself.
"""
