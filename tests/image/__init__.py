"""`make image`: builds the image of `deploy/Dockerfile` and runs it, with buildah alone. See __main__.py."""
