"""Schema safety: a changed table stops its stream before the first row of the new shape, unless the plan lets it pass."""
