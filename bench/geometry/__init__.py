"""Mathematics only: hyperbolic geometry, hyperbolicity and power laws."""
