"""The two sides of a contrast."""

POLES = ("pos", "neg")
