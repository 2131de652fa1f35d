"""What several objectives share: contrast, log-sum-exp in blocks, queue, partners, temperatures."""
