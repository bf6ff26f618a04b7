"""Activations of the residual stream: captured at its points, contrasted between the poles."""
