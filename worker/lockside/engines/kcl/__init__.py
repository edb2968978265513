"""The KCL engine: Amazon's own client library inside this process, for a fleet of workers."""
