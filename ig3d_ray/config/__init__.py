"""The YAML file of a run, as pydantic models.

`SearchSpace` is the root; `load` reads and checks a file.
It starts nothing and reads no data.
"""
