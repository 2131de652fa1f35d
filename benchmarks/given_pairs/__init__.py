"""The study of given pairs: rights that belong to other lefts, and whether DBPM finds them."""
