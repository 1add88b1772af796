"""The embedding study: is the space of a model's tokens hyperbolic?"""
