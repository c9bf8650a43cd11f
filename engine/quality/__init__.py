"""Quality of variants and of people's genotypes: what is counted, and by which rules they are judged."""
