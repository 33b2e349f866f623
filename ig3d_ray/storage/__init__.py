"""Files under one URI, local or on an object store.

`Store` publishes each file atomically; `paths` has every key. `leases` keep two drivers from doing the same work.
It imports nothing of this package but `errors` and `types`.
"""
