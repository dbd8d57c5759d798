"""Rate limits: a token bucket per caller, decided in the worker at once, agreed on over Redis a moment later."""
