"""An ensemble as a folder of ONNX graphs that runs without this package."""
