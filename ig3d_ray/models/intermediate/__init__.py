"""Intermediate fusion: image features and 3D parameters in one classifier."""
