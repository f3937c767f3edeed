"""What a run needs of a card, of the machine and of the disk, before anything is loaded.

parts           the result: bytes by part, for loading, generation and training
"""
