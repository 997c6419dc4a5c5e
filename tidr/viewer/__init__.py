"""The viewer: what a user does becomes a `State`, a `Drawer` makes the picture of it, with a window or without."""
