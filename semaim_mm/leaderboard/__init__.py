"""Results in, tables out: which results count, how certain they are, and what may be compared."""
