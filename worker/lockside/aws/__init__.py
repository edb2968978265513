"""How AWS is spoken to: clients, retries, table definitions."""
