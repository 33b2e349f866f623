"""Late fusion as pure functions of arrays.

`combine` applies a fusion; the other modules solve for its weights.
It reads and writes no files, and imports neither torch nor pandas.
"""
