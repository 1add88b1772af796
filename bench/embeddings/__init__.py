"""The embedding study: why the space of a model's tokens might be hyperbolic at all."""
