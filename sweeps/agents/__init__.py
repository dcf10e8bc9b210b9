"""W&B sweep files: read, refused by name, turned into points, and run without a server."""
