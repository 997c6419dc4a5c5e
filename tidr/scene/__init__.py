"""What there is: the scene graph and its members. Knows no renderer and no file."""
