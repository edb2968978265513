"""What a row means: layouts as data, and the codecs that read their payloads."""
