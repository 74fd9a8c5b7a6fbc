"""galaxymorph: which method should classify my galaxies, given how many labels I have, and can I
trust the answer?"""

__version__ = "0.2.0"
