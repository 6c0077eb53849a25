"""Load on a cluster: worker processes that produce and consume, and the generator that drives them."""
