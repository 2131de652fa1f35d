"""What happens to a sample before a network sees it: parameters drawn by hash, then executed."""
