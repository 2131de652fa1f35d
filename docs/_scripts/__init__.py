"""What writes generated pages of docs/; `make reference` runs all of them."""
