"""What an operator sees: logs, metrics, health, shutdown, and the clock."""
