"""Training of members with single-device torch: recipe, state and cost estimates.

`Trainer` trains one member, `CohortTrainer` many 3D classifiers as one network.
It imports no Ray; `on_ray` runs it on a cluster.
"""
