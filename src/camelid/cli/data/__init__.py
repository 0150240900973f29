"""`camelid data`: the verbs of the data factory."""
