"""Device code of the hybrid renderer: meshes, splats and volumes along one ray."""
