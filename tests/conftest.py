"""Settings for all tests."""

import torch

# Toy networks are too small to share out, and threads that wait for each other on a busy machine
# cost more than they bring.
torch.set_num_threads(1)
