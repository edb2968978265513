"""The embedded engine: boto3, one process, every shard of every configured table."""
