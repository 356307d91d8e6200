"""Network bending: operations on the activations of a layer while it works."""
