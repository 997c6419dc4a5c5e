"""Light transport: what path tracing and photon mapping share."""
