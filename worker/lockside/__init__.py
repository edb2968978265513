"""Lockside: an audit trail of the locks and login sessions in a DynamoDB table."""

__version__ = "0.1.0"
