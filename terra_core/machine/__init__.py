"""The machine's side of the contract: what plugins bring into the initial RAM disk of a machine, and into its system."""
