"""Making tasks with a teacher: Self-Instruct (Wang et al. 2022) and Alpaca's cheaper form (Taori et al. 2023)."""
