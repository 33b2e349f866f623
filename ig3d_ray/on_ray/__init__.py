"""Everything that uses Ray: trainings, searches, extraction, serving, jobs.

The only package that imports Ray; names that are not public are used in `compat` alone.
No formula, network or fusion is defined here.
"""
