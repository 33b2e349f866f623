"""Encoders from a face image to the parameters of a 3D face model, and the extraction of a data set with them."""
