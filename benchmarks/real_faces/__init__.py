"""The study on real faces: FER2013 with 3DDFA_V2's parameters. `make real-faces` writes docs/real-faces.md."""
