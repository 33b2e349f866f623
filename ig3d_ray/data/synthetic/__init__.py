"""The built-in data set: drawn faces, with 3D parameters as an encoder would output them."""
