"""Checks for what makes numbers wrong: predictions, images, specs.

`check_all` returns findings.
It loads neither torch nor Ray.
"""
