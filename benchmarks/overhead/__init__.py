"""What Ray takes of a run's speed."""
