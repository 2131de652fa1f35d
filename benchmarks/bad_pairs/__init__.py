"""The study of bad pairs: planted ones, who finds them, and what that gains."""
