"""The arithmetic: genotype decoding, tile products, association tests. Plain functions over NumPy arrays."""
