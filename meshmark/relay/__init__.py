"""A link of some distance between two networks: what comes out of one TUN device goes into the other, later.

A program of its own (`python -m meshmark.relay`), for kernels without netem. It knows nothing of the rest of meshmark.
"""
