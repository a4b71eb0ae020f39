"""Tables, figures, tests over seeds and the HTML page."""
