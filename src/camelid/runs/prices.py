"""What an hour of a machine costs, as a guide: the one table that reports and plans read."""

from __future__ import annotations

from camelid.runs.report_data import Price

# A small cloud machine, and GPUs as they are rented by the hour (ordinary offers of 2026; yours may differ).
CPU = Price("2-core cloud machine", 0.08, "$", "两核云主机")
GPUS = {
    "T4": Price("T4, rented", 0.15, "$", "租用 T4"),
    "L4": Price("L4, rented", 0.45, "$", "租用 L4"),
    "RTX 3090": Price("RTX 3090, rented", 0.22, "$", "租用 RTX 3090"),
    "RTX 4090": Price("RTX 4090, rented", 0.40, "$", "租用 RTX 4090"),
    "A100": Price("A100 80 GB, rented", 1.40, "$", "租用 A100 80 GB"),
    "H100": Price("H100 80 GB, rented", 2.40, "$", "租用 H100 80 GB"),
    "H200": Price("H200 141 GB, rented", 3.20, "$", "租用 H200 141 GB"),
}
# What a report names: the cheapest way without a GPU, and the usual one with.
PRICES = (CPU, GPUS["RTX 4090"])
