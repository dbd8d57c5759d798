"""Traffic: the demonstration's clients and their audit, Locust scenarios, benchmarks."""
