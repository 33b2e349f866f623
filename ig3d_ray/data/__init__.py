"""Data sets and their samples: labels, images, 3D parameters.

`Samples` is the table of a data set, `Labels` the ground truth of one split, `ImageSet` its decoded images.
It does not depend on models or predictions.
"""
