"""From tables to a trait matrix: reading, alignment, transforms, covariate formulas."""
