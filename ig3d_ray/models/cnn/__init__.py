"""A small convolutional network on face images."""
