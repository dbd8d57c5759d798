"""The monolith's dialect of HTTP, spoken by every service's façade: JSON bytes, checks in its order, its sentences."""
