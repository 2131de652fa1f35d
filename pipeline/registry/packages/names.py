"""Names of probes, features and panel as cards and reports spell them out."""

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
PANEL_NAMES = {
    "rankme": "RankMe, effective rank",
    "alpha_req": "alpha-ReQ, decay of the spectrum",
    "von_neumann_entropy": "von Neumann entropy",
    "lidar": "LiDAR",
    "idest": "intrinsic dimension",
    "uniformity": "uniformity",
    "alignment": "alignment",
    "spread_mean": "spread, mean over dimensions",
    "dead_dimensions": "dead dimensions, share",
    "diffusion_entropy": "diffusion spectral entropy",
    "tolerance": "tolerance (looks at labels)",
    "dsmi": "diffusion spectral mutual information (looks at labels)",
}
