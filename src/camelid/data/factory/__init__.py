"""The data factory: what makes, translates, cleans and judges data. No model is here: a teacher is a callable."""
