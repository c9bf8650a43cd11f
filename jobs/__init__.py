"""What a person touches: job file, check, plan, run, report, export, command line."""
