"""The demonstration's clients and their audit, against a small real server and real tables."""
