"""Real third-party clients, unmodified, each in a process of its own that tells the truth about what it did."""
