"""What is kept: writing the audit trail, its logs and heads, and reading it back."""
