"""Plans what a battery does from prices and an expected load; numpy, no solver.

The serving process imports this only when somebody asks for a plan or the market's job runs.
"""
