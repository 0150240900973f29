"""Models: resolving and loading bases, attention over token trees, adapters, the language-model head."""

import os

# oneDNN compiles a kernel for every new shape of a bfloat16 product, and rows of packed steps hardly ever have the same
# length twice. Its cache of 1,024 kernels grew to 1.2 GB within a hundred steps of SmolLM2. Half as many are enough for
# a row of some sixty branches (seven products a branch, thirty a row) and take 0.5 GB less, at the same speed. It is
# read at the first product, so this holds for whoever imported torch before.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")
