"""Names of probes and of the features they look at, as cards and reports spell them out."""

PROBE_NAMES = {
    "knn": "kNN (k = 20, cosine, weighted)",
    "linear": "linear (logistic regression)",
    "naive_bayes": "naive Bayes (Gaussian, shared variance)",
}
FEATURE_NAMES = {
    "pooled": "the encoder's output",
    "patch_average": "mean over patches",
    "last_layers": "last layers",
    "projector": "the head's output",
    "mean": "mean of the code",
    "sample": "a draw of the code",
    "decoder_hidden": "hidden layer of the decoder",
}
