"""What an encoder is worth: probes on labelled data."""
