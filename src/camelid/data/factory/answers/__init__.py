"""Answers of a teacher to questions that a user has, and harder or other questions made from them."""
