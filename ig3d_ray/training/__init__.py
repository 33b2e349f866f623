"""Training of members: single-device torch, its recipe, its state, and what it costs.

`Trainer` trains one member, `CohortTrainer` many 3D classifiers as one network.
It imports no Ray; `on_ray` runs it on a cluster.
"""
