"""What is done about what was seen: lapses proved and declared."""
