"""Radiance fields made of a learned encoding and a small network: encodings, network, samples of rays, quadrature.

Samples are processed in blocks of BLOCK; a quantity of a block is a row of BLOCK numbers, one a sample, so that the
innermost loop runs over samples and compiles to vector instructions. Row r of block b of an array with R rows a block
starts at (b * R + r) * BLOCK.
"""

BLOCK = 64
