"""Meta-analysis from a file: of studies of other programs, and of scans."""
