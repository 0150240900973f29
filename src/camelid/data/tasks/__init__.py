"""Labelled text: classification of texts and pairs, and sequence labelling, from their usual files to examples."""
