"""Translating data sets between Chinese and English field by field, checked, with nothing lost (Luotuo, mended)."""
