"""The study of cMIM, beside A-MIM and SimCLR, by batch size."""
