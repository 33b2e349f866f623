"""Files under one URI, local or on an object store.

`Store` publishes each file atomically; `paths` defines every key. `leases` prevents two drivers from duplicating work.
It imports nothing of this package but `errors` and `types`.
"""
