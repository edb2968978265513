"""Parts together, on real backends and with real clients."""
