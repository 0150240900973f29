"""What a data set is made of: languages, lengths, duplicates, diversity, and what a tokenizer makes of it."""
