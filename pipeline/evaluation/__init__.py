"""What an encoder is worth: probes on labelled data, measures of features without labels."""
