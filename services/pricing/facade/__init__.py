"""The monolith's pricing API over this service's own model: an anti-corruption layer."""
