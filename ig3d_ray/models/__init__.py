"""The networks, and what each takes as input and outputs.

`spec` describes a member, `registry` lists the kinds; each kind is a folder with `spec.py` (no torch) and
`network.py`.
It does not train.
"""
