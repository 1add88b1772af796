"""Mathematics only: the Lorentz model and what is measured in it. Imports nothing of ours."""
