"""From the genotype files of the field to the store."""
