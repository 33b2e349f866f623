"""Data sets and what is known about their samples: labels, images, 3D parameters.

`Samples` is the table of a data set, `Labels` the truth of one split, `ImageSet` its decoded images.
It does not know models or predictions.
"""
