"""The monolith's notifications API over this service's own model: an anti-corruption layer."""
