"""Networks as pictures: ``chart`` says what is drawn, ``canvas`` where it lies, and a file each writes a format."""
