"""The whole-genome null model: what the rest of the genome predicts of each trait, chromosome by chromosome."""
