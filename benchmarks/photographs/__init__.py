"""What it is worth to reduce photographs once: images per second, and accuracy."""
