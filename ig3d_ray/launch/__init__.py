"""Checks of cluster files before a launch: `ray up`, KubeRay.

`Fault` is one thing to correct.
It starts nothing.
"""
