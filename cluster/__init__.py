"""Where work runs: one small executor interface. It knows tasks, not genetics."""
