"""What a recipe will need, before anything of the base's weights is loaded: memory, time, disk, money."""
