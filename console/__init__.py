"""The operator's page: what is where, how it fares, what was done."""
