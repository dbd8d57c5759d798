"""Schema safety: a changed table stops its stream before the first row of its new shape, unless it may pass."""
