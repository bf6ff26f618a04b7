"""What tables call dW as a whole, among its tensors or its components."""

WHOLE = "(all)"
