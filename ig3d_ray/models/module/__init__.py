"""A user's own network, made by a function of the user's."""
