"""What Lockside costs, against plain boto3 on the same server in the same run. `make bench`; docs/performance.md."""
