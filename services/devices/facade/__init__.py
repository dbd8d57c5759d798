"""The monolith's devices API over this service's own model: an anti-corruption layer."""
