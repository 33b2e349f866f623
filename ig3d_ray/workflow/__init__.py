"""The order of a run: data, training, cache, search, export.

`run` does all of it; `inventory` compares the members that a search space requests with those in a store.
The steps themselves are implemented in other packages.
"""
