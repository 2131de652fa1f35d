"""What several benchmarks need: running a study's cells, a plain training loop, CPU time."""
