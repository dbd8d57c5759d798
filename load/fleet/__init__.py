"""A simulated fleet: thousands of real agent cores in a few processes, speaking real HTTP to the stack."""
