"""The stages of a network, and to which of them each width belongs.

A stage is the run of layers at one resolution, relative to the input. Five decisions refine that (the reasons are in
Huang et al., NeurIPS 2021, and its published parameter counts):

* the stem keeps its width unless a residual ties it to the first stage: what comes before the first block, or the
  module that the author calls so (``stem``, ``patch_embed``). Before that block, convolutions at a resolution between
  the first one's and the block's are a stage of their own;
* a 1x1 convolution followed directly by an average pool commutes with it, so it belongs to the stage after the pool;
* a densely connected stage is scaled by what enters it;
* a block belongs whole to the stage that its output is in;
* the head (classifiers, auxiliary ones too) only follows its inputs.
"""
