"""DDAMFN: a mixed-kernel backbone with attention heads."""
