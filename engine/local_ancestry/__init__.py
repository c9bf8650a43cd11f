"""Local ancestry: which population each stretch of a haplotype comes from, and on which haplotype an allele is."""
