"""Benchmarks: each measures Banyan and its peers side by side in one run and prints one object of figures."""
