"""What a run leaves on disk: its directory, manifest, metrics, progress line and report. Floor 0: no torch here."""
