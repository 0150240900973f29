"""Models: resolving and loading bases, attention over token trees, adapters, the language-model head."""

import os

# oneDNN compiles a kernel for every new shape of a bfloat16 product, and rows of packed steps hardly ever have the same
# length twice: its cache of 1,024 kernels, and that of as many descriptions of products which PyTorch keeps beside it,
# grew to 1.2 GB within a hundred steps of SmolLM2. A row needs some twenty for its length and a few tens for its
# branches (model/attend.py), every layer the same, so smaller caches take a tenth of that at the same speed
# (dev/LOG.md). Both are read at the first product, so this holds for whoever imported torch before.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
os.environ.setdefault("LRU_CACHE_CAPACITY", "64")
