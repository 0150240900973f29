"""Conversations from the web made fit for training: text, turns, identity, language, length."""
