"""What a team can build on: replicas of tables."""
