"""Checks for faults in predictions, images and specs.

`check_all` returns findings.
It loads neither torch nor Ray.
"""
