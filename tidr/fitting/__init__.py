"""From pictures to parameters: tape, losses, regularizers, optimizers, the fit loop, the gradient checker."""
