"""Camelid: train your own ChatGPT, affordably, in Chinese and English."""

__version__ = "0.1.0"
