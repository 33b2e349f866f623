"""The paper's classifier on the parameters of a 3D face model."""
