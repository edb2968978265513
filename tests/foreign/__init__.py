"""Third-party clients that play against the stores."""
