"""CAGE: torchvision's backbones with heads for expressions, valence and arousal."""
